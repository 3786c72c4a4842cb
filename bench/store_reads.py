"""How fast is a feature store on this machine? Random and sequential reads (warm), writing, verification.

    python bench/store_reads.py --records 1024

Records have DINOv2-B's size at 336 px: 576 tokens x 768 channels. One process, one thread; medians over repeats,
the codecs taking turns. "write" includes checksums, SHA-256 and fsync; "verify" reads every byte and hashes it.
"""

import argparse
import hashlib
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from stores import (
    CosineStats,
    FeatureStore,
    Plan,
    ShardReport,
    StoreSpec,
    build_lock,
    create_store,
    finish_store,
    open_store,
    verify_store,
    write_shard,
)

GRID, DIM = (24, 24), 768
CODECS = ("fp16", "int8")
MEASURES = ("random reads/s", "sequential MB/s", "write MB/s", "verify MB/s")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=1024, help="records per store (fp16: 0.88 MB each)")
    parser.add_argument("--repeats", type=int, default=5, help="measurements per figure")
    parser.add_argument(
        "--folder", type=Path, help="where to write the stores (default: the temporary folder)"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        rates = measure(Path(folder), arguments.records, arguments.repeats)
    print(
        f"{arguments.records} records of {GRID[0] * GRID[1]} x {DIM}, warm, median of {arguments.repeats} (min - max)"
    )
    print("".join(f"{name:>28}" for name in ("codec", *MEASURES)))
    for codec in CODECS:
        cells = [
            f"{statistics.median(r):,.0f} ({min(r):,.0f} - {max(r):,.0f})" for r in rates[codec].values()
        ]
        print("".join(f"{cell:>28}" for cell in (codec, *cells)))


def measure(folder: Path, num_records: int, repeats: int) -> dict[str, dict[str, list[float]]]:
    """Rates by codec and measure."""
    rates: dict[str, dict[str, list[float]]] = {codec: {name: [] for name in MEASURES} for codec in CODECS}
    for repeat in range(repeats):
        for codec in CODECS:
            root = folder / f"{codec}-{repeat}"
            plan = make_plan(codec, num_records)
            spent = {"write MB/s": write(root, plan)}
            store = open_store(root)
            in_order = list(store.keys())
            shuffled = random.Random(repeat).sample(in_order, num_records)
            read_all(store, in_order)  # fills the page cache
            spent["random reads/s"] = seconds(partial(read_all, store, shuffled))
            spent["sequential MB/s"] = seconds(partial(read_all, store, in_order))
            spent["verify MB/s"] = seconds(partial(verify_store, root))
            for name in MEASURES:
                amount = num_records if name.endswith("reads/s") else num_records * plan.record_bytes / 1e6
                rates[codec][name].append(amount / spent[name])
            shutil.rmtree(root)
    return rates


def make_plan(codec: str, num_records: int) -> Plan:
    """A plan of made-up images."""
    keys = tuple(hashlib.sha256(b"%d" % row).hexdigest() for row in range(num_records))
    spec = StoreSpec(codec=codec, grid=GRID, dim=DIM, fingerprint={"teacher": "none"})
    return Plan(spec=spec, keys=keys, paths=tuple(f"{row}.jpg" for row in range(num_records)))


def write(root: Path, plan: Plan) -> float:
    """Write the whole store; seconds spent in `write_shard`."""
    spec, spent = plan.spec, 0.0
    block = np.random.default_rng(0).integers(-127, 128, (spec.shard_size, *spec.record_shape), np.int8)
    codes = block.astype(spec.codes_dtype)
    with build_lock(root):
        create_store(root, plan)
        for shard_id in range(plan.num_shards):
            num = len(plan.rows(shard_id))
            report = ShardReport(
                shard_id=shard_id, num_images=num, cosine=CosineStats(mean=1.0, p001=1.0, worst=1.0)
            )
            spent += seconds(partial(write_shard, root, plan, shard_id, codes[:num], report))
        finish_store(root, plan)
    return spent


def read_all(store: FeatureStore, keys: list[str]) -> None:
    for key in keys:
        store.read(key)


def seconds(action: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
