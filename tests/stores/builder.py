"""A small, deterministic stand-in for the build pipeline: features are a function of the key."""

import hashlib
from pathlib import Path

import numpy as np

from stores import (
    CosineStats,
    Manifest,
    Plan,
    Reject,
    ShardReport,
    StoreSpec,
    build_lock,
    create_store,
    finish_store,
    pending_shards,
    write_shard,
)
from stores.arrays import read_tables

GRID = (3, 4)
DIM = 16


def key(number: int) -> str:
    return hashlib.sha256(b"%d" % number).hexdigest()


def make_plan(
    num_images: int = 10, *, codec: str = "int8", store: str = "zarr", shard_size: int = 4, **fingerprint
) -> Plan:
    spec = StoreSpec(
        codec=codec,
        grid=GRID,
        dim=DIM,
        shard_size=shard_size,
        store=store,
        fingerprint={"teacher": {"name": "dinov2-b", "size": 336}, **fingerprint},
    )
    return Plan(
        spec=spec,
        keys=tuple(map(key, range(num_images))),
        paths=tuple(f"images/{number}.jpg" for number in range(num_images)),
        rejects=(Reject(path="images/gone.jpg", reason="no such file"),),
    )


def features(keys) -> np.ndarray:
    """float32 [n, T, D], determined by the keys."""
    rngs = [np.random.default_rng(int(key[:8], 16)) for key in keys]
    return np.stack([rng.standard_normal((GRID[0] * GRID[1], DIM)) for rng in rngs]).astype(np.float32)


def make_shard(root: Path, plan: Plan, shard_id: int, reject: frozenset[int] = frozenset()):
    """Codes and report of a shard; rows in `reject` are rejected."""
    rows = plan.rows(shard_id)
    tables = read_tables(root, plan.codec)
    codes = plan.codec.encode(features(plan.keys[rows.start : rows.stop]), tables)
    rejects = [
        Reject(path=plan.paths[row], reason="truncated", key=plan.keys[row]) for row in rows if row in reject
    ]
    cosine = (
        None
        if len(rejects) == len(rows)
        else CosineStats(mean=0.9999, p001=0.999 - shard_id / 1e4, worst=0.99)
    )
    return codes, ShardReport(shard_id=shard_id, num_images=len(rows), rejects=tuple(rejects), cosine=cosine)


def build(root: Path, plan: Plan, reject: frozenset[int] = frozenset()) -> Manifest:
    """Create or resume, write what is pending, finish."""
    with build_lock(root):
        create_store(root, plan)
        for shard_id in pending_shards(root, plan):
            write_shard(root, plan, shard_id, *make_shard(root, plan, shard_id, reject))
        return finish_store(root, plan)


def snapshot(root: Path) -> dict[str, bytes]:
    """Every byte of a store by relative name, the builder's own `logs/` excluded."""
    files = {path.relative_to(root): path for path in root.rglob("*") if path.is_file()}
    return {name.as_posix(): path.read_bytes() for name, path in files.items() if name.parts[0] != "logs"}
