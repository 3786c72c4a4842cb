"""Draw the micro-world: instruction data and benchmarks, as the demo and reproductions at micro scale use them."""

import hashlib
from pathlib import Path

from viral.microworld.benchmarks import write_benchmarks
from viral.microworld.instructions import ANNOTATIONS, write_instructions
from viral.microworld.parts import WEIGHTS

NUM_SAMPLES = 3_200
DATA, BENCHMARKS = "data", "benchmarks"


def draw_world(out: Path, num_samples: int = NUM_SAMPLES) -> None:
    """Write `data/` and `benchmarks/` below `out`; what is there already stays. Same numbers, same bytes.

    Raises:
        DataError: one of them is a folder of something else.
    """
    if not (out / DATA / ANNOTATIONS).is_file():
        write_instructions(out / DATA, num_samples=num_samples)
    if not (out / BENCHMARKS).is_dir():
        write_benchmarks(out / BENCHMARKS)


def world_is_drawn(out: Path) -> bool:
    """Whether both are there; each appears whole or not at all."""
    return (out / DATA / ANNOTATIONS).is_file() and (out / BENCHMARKS).is_dir()


def world_digest() -> str:
    """Names the world: its code and its shipped weights."""
    digest = hashlib.sha256()
    for path in sorted(WEIGHTS.parent.rglob("*")):
        if path.suffix in (".py", ".json", ".safetensors"):
            digest.update(path.read_bytes())
    return digest.hexdigest()
