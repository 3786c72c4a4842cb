"""Peak memory and time of the language loss, forward and backward, by how many positions have logits at once.

    python bench/logits.py [--positions 2048] [--vocab 151936] [--width 896] [--rounds 3] [--device cpu]

The head is random and frozen, hidden states are fp32, the default sizes those of Qwen2.5-0.5B. Each way runs in a
process of its own, for a process remembers its peak; memory is what the loss adds to it, time the best of the rounds.
"""

import argparse
import resource
import subprocess
import sys
import time

import torch
from torch import nn

from viral.mllm.language_loss import language_loss


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("positions", 2048), ("vocab", 151936), ("width", 896), ("rounds", 3)):
        arguments.add_argument(f"--{name}", type=int, default=default)
    arguments.add_argument("--device", default="cpu")
    arguments.add_argument("--at-once", type=int, help="measure this way alone")
    given = arguments.parse_args()
    if given.at_once:
        measure(given)
        return
    print(f"torch {torch.__version__}, {given.device}, {torch.get_num_threads()} threads; {vars(given)}")
    for at_once in (given.positions, 1024, 512, 256, 128):
        subprocess.run([sys.executable, *sys.argv, "--at-once", str(at_once)], check=True)


def measure(given: argparse.Namespace) -> None:
    torch.manual_seed(0)
    device = torch.device(given.device)
    head = nn.Linear(given.width, given.vocab, bias=False, device=device).requires_grad_(False)
    hidden = torch.randn(given.positions, given.width, device=device, requires_grad=True)
    labels = torch.randint(0, given.vocab, (given.positions,), device=device)
    before, seconds = peak(device), []
    for _ in range(given.rounds):
        start, hidden.grad = time.perf_counter(), None
        loss = language_loss(hidden, labels, head, given.at_once)
        loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    added = (peak(device) - before) / 1e9
    print(
        f"{given.at_once:>6} at once: {added:.2f} GB, {min(seconds):.1f} s, loss {float(loss.detach()):.6f}"
    )


def peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
