"""What the benchmarks of stores share: what is written, what a way to keep it can do, and our own way."""

import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipelines.cache_shards import WRITERS
from stores import (
    CosineStats,
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
from stores.codecs import TABLE_SEED

SHARD = 512
BATCH = 16
"""Records of one sequential read, where a way reads several at once."""
PAGE = 4096
EXACT = CosineStats(mean=1.0, p001=1.0, worst=1.0)


class Job(NamedTuple):
    """What to write: the same block of codes [at most SHARD, T, W] again and again, until there are enough."""

    plan: Plan
    tables: dict[str, np.ndarray]
    block: np.ndarray

    @property
    def blocks(self) -> Iterator[np.ndarray]:
        """The codes of each shard [n, T, W]."""
        for shard_id in range(self.plan.num_shards):
            yield self.block[: len(self.plan.rows(shard_id))]

    @property
    def codes(self) -> Iterator[np.ndarray]:
        """Those of each image [T, W]."""
        for block in self.blocks:
            yield from block


class Opened(NamedTuple):
    """A store to read from; `scan` yields all codes in order, one or several records at a time."""

    read: Callable[[int], np.ndarray] | None
    scan: Callable[[], Iterator[np.ndarray]]


class Way(NamedTuple):
    """A format or library: writes a job, opens a folder that holds so many records."""

    write: Callable[[Path, Job], None]
    open: Callable[[Path, int], Opened]
    lacks: str
    """What it does not do by itself."""
    verify: Callable[[Path], bool] | None = None


def make_job(codec: str, store: str, num_records: int, grid: tuple[int, int], dim: int) -> Job:
    """Random codes of made-up images. The codec's tables are made here, so that no figure contains that."""
    spec = StoreSpec(
        codec=codec, grid=grid, dim=dim, fingerprint={"teacher": "none"}, store=store, shard_size=SHARD
    )
    keys = tuple(hashlib.sha256(b"%d" % row).hexdigest() for row in range(num_records))
    plan = Plan(spec=spec, keys=keys, paths=tuple(f"{row}.jpg" for row in range(num_records)))
    tables = plan.codec.make_tables(spec.num_tokens, dim, TABLE_SEED)
    shape = (min(SHARD, num_records), *spec.record_shape)
    # Numbers that every dtype of codes has.
    codes = np.random.default_rng(0).integers(1, 128, shape, np.uint8)
    return Job(plan, dict(tables), codes.astype(spec.codes_dtype))


def write_ours(root: Path, job: Job) -> None:
    """With as many threads as a build."""

    def write(shard_id: int, block: np.ndarray) -> None:
        report = ShardReport(shard_id=shard_id, num_images=len(block), cosine=EXACT)
        write_shard(root, job.plan, shard_id, block, report)

    with build_lock(root):
        create_store(root, job.plan, job.tables)
        with ThreadPoolExecutor(WRITERS) as writers:
            list(writers.map(write, range(job.plan.num_shards), job.blocks))
        finish_store(root, job.plan)


def open_ours(root: Path, num_records: int) -> Opened:
    store = open_store(root)
    keys = list(store.keys())
    batches = [keys[start : start + BATCH] for start in range(0, num_records, BATCH)]
    return Opened(lambda row: store.read(keys[row]), lambda: map(store.read_many, batches))


def touch(codes: np.ndarray) -> int:
    """Look at every page of what was read, since some ways only map it; returns its bytes."""
    codes.reshape(-1).view(np.uint8)[::PAGE].max()
    return codes.nbytes


def read_all(opened: Opened, job: Job) -> None:
    """In order."""
    num_bytes = sum(map(touch, opened.scan()))
    assert num_bytes == len(job.plan.keys) * job.plan.spec.record_bytes, num_bytes


def read_rows(opened: Opened, rows: list[int]) -> None:
    """One by one."""
    for row in rows:
        touch(opened.read(row))


def seconds(action: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def verify(root: Path) -> bool:
    return verify_store(root).ok


FORMATS = ("zarr", "webdataset")
OURS = Way(write_ours, open_ours, "-", verify=verify)
