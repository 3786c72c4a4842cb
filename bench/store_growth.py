"""Does a store stay as fast as it grows? Costs of a record at 1, 4 and 16 times as many records.

    python bench/store_growth.py                     # int8, 576 x 96: 0.2, 0.9 and 3.6 GB
    python bench/store_growth.py --records 400000 --grid 1 --dim 8 --factors 1,4     # keys and metadata alone

Microseconds of one record, but "open" in milliseconds of a store; medians and, in brackets, the range. Sizes take
turns. Reads are warm, in random order all over the store, and as many at every size. "open" grows with the keys, 32
bytes each, which are hashed and sorted; "memory" is what an open store adds to the process.
"""

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from store_ways import make_job, open_ours, read_all, read_rows, seconds, verify, write_ours

from stores import open_store

COLUMNS = ("write", "random read", "sequential read", "verify", "open, ms", "memory, MB")


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
    for _ in range(options.rounds):
        for size in sizes:
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                for column, cost in measure(Path(folder) / "store", size, options).items():
                    found[size][column].append(cost)
    print(f"{options.store}, {options.codec}, {options.grid**2} x {options.dim}, {options.rounds} rounds\n")
    print("| records | " + " | ".join(COLUMNS) + " |\n|---" + "|---" * len(COLUMNS) + "|")
    for size in sizes:
        cells = [
            f"{statistics.median(c):,.1f} ({min(c):,.1f}-{max(c):,.1f})"
            for c in map(found[size].get, COLUMNS)
        ]
        print(f"| {size:,} | {' | '.join(cells)} |")


def measure(root: Path, num_records: int, options: argparse.Namespace) -> dict[str, float]:
    """Costs by column, of one store."""
    job = make_job(options.codec, options.store, num_records, (options.grid, options.grid), options.dim)
    micro = 1e6 / num_records
    costs = {"write": seconds(lambda: write_ours(root, job)) * micro}
    costs["open, ms"] = 1e3 * seconds(lambda: open_store(root))
    opened = open_ours(root, num_records)
    read_all(opened, job)  # fills the page cache
    rows = random.Random(0).choices(range(num_records), k=options.records)
    costs["random read"] = seconds(lambda: read_rows(opened, rows)) * 1e6 / len(rows)
    costs["sequential read"] = seconds(lambda: read_all(opened, job)) * micro
    costs["verify"] = seconds(lambda: verify(root)) * micro
    costs["memory, MB"] = memory_of(root)
    return costs


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
