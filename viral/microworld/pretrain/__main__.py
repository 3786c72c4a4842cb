"""Make the micro parts: `python -m viral.microworld.pretrain [all|tower|teacher|llm|projector] --out DIR`."""

import argparse
import logging
import time
from collections.abc import Callable
from pathlib import Path

import torch

from viral.microworld.parts import PROJECTOR_FILE, TEACHER_FILE, parts
from viral.microworld.pretrain.llm import train_llm
from viral.microworld.pretrain.projector import train_projector
from viral.microworld.pretrain.teacher import train_teacher
from viral.microworld.pretrain.tokenizer import train_tokenizer
from viral.microworld.pretrain.tower import train_tower

log = logging.getLogger("viral.microworld.pretrain")

STAGES: dict[str, Callable[[Path, int], float]] = {
    "teacher": lambda out, seed: train_teacher(out / TEACHER_FILE, seed=seed),
    "tower": lambda out, seed: train_tower(out / "tower", train_tokenizer(seed), seed=seed),
    "llm": lambda out, seed: train_llm(out / "llm", train_tokenizer(seed), seed=seed),
    "projector": lambda out, seed: train_projector(out / PROJECTOR_FILE, parts(out), seed=seed),
}
"""In the order of `all`; the projector needs the tower and the LLM."""


def main() -> None:
    """Train the named part, or all of them, below --out."""
    parser = argparse.ArgumentParser(prog="python -m viral.microworld.pretrain", description=__doc__)
    parser.add_argument("part", choices=["all", *STAGES], help="which part to train")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads; their number changes rounding")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(True)
    for name in STAGES if arguments.part == "all" else [arguments.part]:
        start = time.perf_counter()
        loss = STAGES[name](arguments.out, arguments.seed)
        log.info("%s: final loss %.4f, %.0f s", name, loss, time.perf_counter() - start)


if __name__ == "__main__":
    main()
