"""Does a store stay as fast as it grows? Costs of a record at 1, 4 and 16 times as many records.

    python bench/store_growth.py                     # int8, 576 x 96: 0.2, 0.9 and 3.6 GB
    python bench/store_growth.py --records 25000 --grid 1 --dim 8     # hardly more than keys

Microseconds of one record, but "open" in milliseconds of a store; medians and, in brackets, the range. Sizes take
turns. Reads are warm, in random order all over the store, and as many at every size. "open" grows with the keys, 32
bytes each, which are hashed and sorted; "memory" is what an open store adds to the process. A second table has the
time of the processor, which other work on the machine does not change much.
"""

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from store_ways import make_job, open_ours, read_all, read_rows, seconds, verify, write_ours

from stores import open_store

COLUMNS = ("write", "random read", "sequential read", "verify", "open, ms")


class Cost(NamedTuple):
    """Microseconds."""

    wall: float
    CPU: float


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=4096, help="of the smallest store")
    parser.add_argument("--factors", default="1,4,16", help="numbers with commas between")
    parser.add_argument("--grid", type=int, default=24, help="patches along a side")
    parser.add_argument("--dim", type=int, default=96, help="channels")
    parser.add_argument("--codec", default="int8")
    parser.add_argument("--store", default="zarr", help="zarr or webdataset")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to write (default: the temporary folder)")
    options = parser.parse_args()
    sizes = [options.records * int(factor) for factor in options.factors.split(",")]
    found = {size: defaultdict(list) for size in sizes}
    memory = {}
    for _ in range(options.rounds):
        for size in sizes:
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                for column, found_cost in measure(Path(folder) / "store", size, options).items():
                    found[size][column].append(found_cost)
                memory[size] = memory_of(Path(folder) / "store")
    print(f"{options.store}, {options.codec}, {options.grid**2} x {options.dim}, {options.rounds} rounds")
    for number, kind in enumerate(Cost._fields):
        print(f"\n| records, {kind} time | " + " | ".join(COLUMNS) + " | memory, MB |\n" + "|---" * 7 + "|")
        for size in sizes:
            cells = [cell([costs[number] for costs in found[size][column]]) for column in COLUMNS]
            print(f"| {size:,} | {' | '.join(cells)} | {memory[size]:.1f} |")


def cell(values: list[float]) -> str:
    return f"{statistics.median(values):,.1f} ({min(values):,.1f}-{max(values):,.1f})"


def measure(root: Path, num_records: int, options: argparse.Namespace) -> dict[str, Cost]:
    """Costs by column, of one store."""
    job = make_job(options.codec, options.store, num_records, (options.grid, options.grid), options.dim)
    rows = random.Random(0).choices(range(num_records), k=options.records)
    costs = {"write": cost(lambda: write_ours(root, job), num_records)}
    costs["open, ms"] = cost(lambda: open_store(root), 1000)
    opened = open_ours(root, num_records)
    read_all(opened, job)  # fills the page cache
    costs["random read"] = cost(lambda: read_rows(opened, rows), len(rows))
    costs["sequential read"] = cost(lambda: read_all(opened, job), num_records)
    costs["verify"] = cost(lambda: verify(root), num_records)
    return costs


def cost(action: Callable[[], object], count: int) -> Cost:
    """Microseconds for each of `count`."""
    cpu_start = time.process_time()
    wall = seconds(action)
    return Cost(wall * 1e6 / count, (time.process_time() - cpu_start) * 1e6 / count)


MEMORY = """
import os, pathlib, sys
import stores.reader, stores.sharded

def resident():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

before = resident()
store = stores.reader.open_store(sys.argv[1])
print(resident() - before)
"""


def memory_of(root: Path) -> float:
    """Megabytes that an open store adds to a fresh process."""
    done = subprocess.run([sys.executable, "-c", MEMORY, root], check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


if __name__ == "__main__":
    main()
