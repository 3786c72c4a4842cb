"""What 665K annotations cost before the first step: held as objects, or indexed. Time and memory of each.

    python bench/annotations.py                     # the size of llava_v1_5_mix665k
    python bench/annotations.py --entries 66530

Each row runs in a process of its own: seconds of the clock and of the CPU (which other work on the machine hardly
changes), and how much the process grew; "start" is what importing takes.

objects     every sample as an object, which is what the index replaces
index       the first run: read the file through, check each entry, keep the index
again       every later run: open the kept index
fetch       10,000 samples at random places, read and parsed on demand
order       the order of one epoch, and its 5,197 steps dealt into micro-batches of 16
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ENTRIES, IMAGES, TEXT_ONLY_EVERY = 665_298, 380_000, 16
TEXT = "What is the colour of that thing over there beside the red house? " * 2
FETCHED, GLOBAL_BATCH, MICRO_BATCH = 10_000, 128, 16
ROWS = ("start", "objects", "index", "again", "fetch", "order")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entries", type=int, default=ENTRIES)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        name, path = arguments.measure
        measure(name, Path(path))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.json"
        write_data(path, arguments.entries)
        print(f"{arguments.entries:,} entries, {path.stat().st_size / 1e6:,.0f} MB")
        time.sleep(3)  # a file changed in the last two seconds is not remembered
        print(f"{'':10}{'seconds':>10}{'CPU':>8}{'MB':>8}")
        for name in ROWS:
            command = [sys.executable, __file__, "--measure", name, str(path)]
            subprocess.run(command, check=True, env={**os.environ, "VIRAL_ANNOTATION_CACHE": folder})


def measure(name: str, path: Path) -> None:
    from pipelines.annotation_cache import open_annotations
    from viral.data.annotations import read_annotations
    from viral.data.sampler import SampleOrder

    def fetch() -> None:
        index = open_annotations([path])
        for number in np.random.default_rng(0).integers(len(index), size=FETCHED):
            index[number]

    def order() -> None:
        index = open_annotations([path])
        sampler = SampleOrder(
            index.num_words,
            index.num_images > 0,
            global_batch=GLOBAL_BATCH,
            micro_batch=MICRO_BATCH,
            seed=0,
        )
        for step in range(sampler.steps_per_epoch):
            sampler.step(step)

    rows: dict[str, Callable[[], object]] = {
        "start": lambda: None,
        "objects": lambda: read_annotations(path),
        "index": lambda: open_annotations([path]),
        "again": lambda: open_annotations([path]),
        "fetch": fetch,
        "order": order,
    }
    before = resident()
    start, cpu = time.perf_counter(), time.process_time()
    kept = rows[name]()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    if name == "start":
        seconds, cpu, before = time.process_time(), time.process_time(), 0
    print(f"{name:10}{seconds:>10.2f}{cpu:>8.2f}{peak - before:>8.0f}", flush=True)
    del kept


def resident() -> float:
    """Megabytes in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


def write_data(path: Path, number: int) -> None:
    turns = [{"from": ("human", "gpt")[turn % 2], "value": TEXT[turn:]} for turn in range(10)]
    with path.open("w") as file:
        for index in range(number):
            has_image = index < IMAGES or index % TEXT_ONLY_EVERY > 0
            first = {"from": "human", "value": "<image>\n" * has_image + TEXT}
            image = {"image": f"coco/train2017/{index % IMAGES:012d}.jpg"} if has_image else {}
            entry = {"id": f"{index % IMAGES:012d}", **image, "conversations": [first, *turns[1:]]}
            file.write(("," if index else "[") + "\n" + json.dumps(entry))
        file.write("]")


if __name__ == "__main__":
    main()
