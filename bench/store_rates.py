"""How fast are feature stores on this machine, ours and others? Writing, random and sequential reads, verifying.

    pip install -c constraints.txt '.[bench]' && pip install -c constraints.txt --no-deps mosaicml-streaming
    python bench/store_rates.py --records 1024
    python bench/store_rates.py --peers ""      # ours alone

Records have DINOv2-B's size at 336 px: 576 tokens x 768 channels. One process; reads are warm, all of the store
being in the page cache. All ways take turns, several rounds; printed are medians and, in brackets, the range.

write       codes in memory -> a store that opens; ours with CRC-32C, SHA-256, fsync and the threads of a build
+ fsync     the same and an fsync of every file that was written, which ours have had
random      one record at a time, all of them in random order; what they return is looked at, in case it is only mapped
sequential  all of them in order, in whichever way is natural
verify      ours only: `viral cache verify`, every byte read, checksums and SHA-256
flipped bit what reading a record does when one of its bits has been flipped; ours must be found by verify as well
lacks       what a way does not do by itself, or not unless it is asked to
"""

import argparse
import itertools
import mmap
import os
import random
import shutil
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path

from store_peers import PEERS, require
from store_ways import FORMATS, OURS, Job, Way, make_job, read_all, read_rows, seconds

GRID, DIM = (24, 24), 768
CODECS, PEERS_CODECS = ("fp16", "int8", "lm4"), ("fp16", "int8")
HEADER = (
    "| way | write, MB/s | records/s | + fsync, MB/s | random, records/s | sequential, MB/s | records/s "
    "| verify, MB/s | flipped bit | lacks |\n" + "|---" * 10 + "|"
)
FLIPPED_ROW = 5

Rates = dict[str, list[float]]
"""Records/s of each round, by measure."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=1024, help="records per store (fp16: 0.88 MB each)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements per figure")
    parser.add_argument("--codecs", default=",".join(CODECS), help="names with commas between")
    parser.add_argument("--peers", default=",".join(PEERS), help="names with commas between")
    parser.add_argument("--folder", type=Path, help="where to write (default: the temporary folder)")
    options = parser.parse_args()
    peers = [name for name in options.peers.split(",") if name]
    if unknown := set(peers) - set(PEERS):
        parser.error(f"no peer {', '.join(unknown)}; there are {', '.join(PEERS)}")
    try:
        require(peers)
    except ModuleNotFoundError as error:
        parser.error(
            f"{error}; pip install '.[bench]' && pip install --no-deps mosaicml-streaming, or choose --peers"
        )
    print(f"{options.records} records of {GRID[0] * GRID[1]} x {DIM}, {options.rounds} rounds")
    for codec in options.codecs.split(","):
        jobs = {store: make_job(codec, store, options.records, GRID, DIM) for store in FORMATS}
        ways = {f"viral, {store}": (OURS, job) for store, job in jobs.items()}
        if codec in PEERS_CODECS:
            ways |= {name: (PEERS[name], jobs["zarr"]) for name in peers}
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            report(codec, ways, Path(folder), options.rounds)


def report(codec: str, ways: dict[str, tuple[Way, Job]], folder: Path, rounds: int) -> None:
    """Print a Markdown table of one codec."""
    rates: dict[str, Rates] = {name: defaultdict(list) for name in ways}
    flips = {}
    for number in range(rounds):
        for name, (way, job) in ways.items():
            root = folder / "store"
            for measure, rate in measure_way(way, job, root, number).items():
                rates[name][measure].append(rate)
            flips[name] = flips.get(name) or flip(way, job, root)
            shutil.rmtree(root)
    mega = next(iter(ways.values()))[1].plan.spec.record_bytes / 1e6
    print(f"\n{codec}, {mega * 1e6:,.0f} bytes a record\n")
    print(HEADER)
    for name, (way, _) in ways.items():
        found = rates[name]
        cells = [
            median_and_range(found["write"], mega),
            median(found["write"]),
            median_and_range(found["+ fsync"], mega),
            median_and_range(found["random"]),
            median_and_range(found["sequential"], mega),
            median(found["sequential"]),
            median_and_range(found["verify"], mega),
        ]
        print(f"| {name} | {' | '.join(cells)} | {flips[name]} | {way.lacks} |", flush=True)


def measure_way(way: Way, job: Job, root: Path, seed: int) -> dict[str, float]:
    """Write a store and read it; records/s by measure."""
    num_records = len(job.plan.keys)
    spent = {"write": seconds(lambda: way.write(root, job))}
    spent["+ fsync"] = spent["write"] + seconds(lambda: sync(root))
    opened = way.open(root, num_records)
    read_all(opened, job)  # fills the page cache, starts threads
    spent["sequential"] = seconds(lambda: read_all(opened, job))
    if opened.read:
        rows = random.Random(seed).sample(range(num_records), num_records)
        spent["random"] = seconds(lambda: read_rows(opened, rows))
    if way.verify:
        spent["verify"] = seconds(lambda: way.verify(root))
    return {measure: num_records / duration for measure, duration in spent.items()}


def sync(root: Path) -> None:
    for path in (root, *root.rglob("*")):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def flip(way: Way, job: Job, root: Path) -> str:
    """Flip one bit of a record: what does a reader that opens the store then get?"""
    expected = job.block[FLIPPED_ROW]
    flip_bit(root, expected.tobytes()[:64])
    assert not (way.verify and way.verify(root)), "verify did not find it"
    opened = way.open(root, len(job.plan.keys))
    try:
        in_order = itertools.islice(opened.scan(), FLIPPED_ROW, None)
        found = opened.read(FLIPPED_ROW) if opened.read else next(in_order)
    except Exception as error:
        return type(error).__name__
    assert (found != expected).sum() == 1
    return "unnoticed"


def flip_bit(root: Path, content: bytes) -> None:
    """In the first file that has this content."""
    for path in sorted(path for path in root.rglob("*") if path.stat().st_size and path.is_file()):
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            place = memory.find(content)
            if place >= 0:
                memory[place] ^= 1
                return
    raise AssertionError(f"{root} does not hold the record's bytes")


def median(rates: list[float], factor: float = 1) -> str:
    return f"{statistics.median(rates) * factor:,.0f}" if rates else "-"


def median_and_range(rates: list[float], factor: float = 1) -> str:
    if not rates:
        return "-"
    return f"{median(rates, factor)} ({min(rates) * factor:,.0f}-{max(rates) * factor:,.0f})"


if __name__ == "__main__":
    main()
