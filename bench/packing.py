"""What padding costs: micro-batches padded and packed, alternating, forward and backward, in seconds of the CPU.

    python bench/packing.py [--pairs 5]

The student is LLaVA-1.5-7B with widths / 16 and depths / 4 at its real 576 visual tokens and random weights. Lengths of
text are drawn anew for each pair; "padding" is the share of padded positions. The losses of both are compared, too.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from viral.data.dataset import Batch, Example, collate
from viral.data.images import normalise
from viral.data.tokens import IGNORE
from viral.mllm.aligned import AlignedMllm
from viral.mllm.lora import add_lora
from viral.mllm.packing import use_packing
from viral.mllm.scaled import write_scaled_llava
from viral.mllm.student import Student, load_student

SAMPLES, SHORTEST, LONGEST, ANSWER = 6, 80, 480, 100


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--pairs", type=int, default=5)
    pairs = arguments.parse_args().pairs
    with tempfile.TemporaryDirectory() as folder:
        source = str(write_scaled_llava(Path(folder) / "llava"))
        students = [load_student(source) for _ in range(2)]
    modules = [module(student) for student in students]
    use_packing(modules[1].core.language_model)
    seconds, differences, padding = [], [], []
    for pair in range(pairs + 1):
        examples = [example(students[0], np.random.default_rng([pair, row])) for row in range(SAMPLES)]
        lengths = [len(one.input_ids) for one in examples]
        padding.append(1 - sum(lengths) / (max(lengths) * SAMPLES))
        (padded, first), (packed, second) = (
            run(modules[pack], students[0], examples, bool(pack)) for pack in (0, 1)
        )
        seconds.append((padded, packed))
        differences.append(abs(first - second))
    padded, packed = np.median(seconds[1:], axis=0)  # the first pair warms up
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {pairs} alternating pairs of {SAMPLES} samples"
    )
    print(
        f"padding {np.mean(padding[1:]):.0%}; padded {padded:.2f} s, packed {packed:.2f} s, ratio {packed / padded:.3f}"
    )
    print(f"largest difference of the losses {max(differences):.1e}")


def module(student: Student) -> AlignedMllm:
    adapted = add_lora(student.model, rank=8, alpha=16, dropout=0.0, seed=0)
    return AlignedMllm(adapted, {}).train()


def example(student: Student, rng: np.random.Generator) -> Example:
    text = rng.integers(10, 200, rng.integers(SHORTEST, LONGEST)).tolist()
    ids = [1, *[student.image.id] * student.image.count, *text]
    square = rng.integers(0, 256, (student.pixels.size, student.pixels.size, 3), np.uint8)
    labels = [IGNORE] * (len(ids) - ANSWER) + ids[-ANSWER:]
    return Example("", ids, labels, [square], {}, False)


def run(model: AlignedMllm, student: Student, examples: list[Example], pack: bool) -> tuple[float, float]:
    """Seconds and loss of one micro-batch."""
    batch = collate(list(examples), pad_token_id=0, pack=pack)
    assert isinstance(batch, Batch)
    pixels = normalise(batch.squares, student.pixels)
    start = time.process_time()
    losses = model(
        input_ids=batch.input_ids, labels=batch.labels, pixels=pixels, cu_seq_lens=batch.cu_seq_lens
    )
    losses.total.backward()
    seconds = time.process_time() - start
    model.zero_grad(set_to_none=True)
    return seconds, float(losses.total.detach())


if __name__ == "__main__":
    main()
