"""Stage one from end to end against its slowest single stage: `python bench/stage_one.py --images 96`.

Each stage runs alone on all the machine has, then the real `build_cache` runs; the rounds alternate, and the best of
each is kept, so that other load on the machine disturbs little. A perfect pipeline is as fast as its slowest stage,
and that stage is never idle: the last line tells its busy share, which a shared machine does not distort.
"""

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data

from pipelines.cache_build import build_cache
from pipelines.cache_decode import SquareDataset, decoded_batches
from pipelines.cache_encode import Encoder
from pipelines.cache_plan import PlannedCache, plan_cache, read_source
from pipelines.cache_request import CacheRequest
from stores import ShardReport, build_lock, create_store, write_shard
from stores.arrays import read_tables
from viral.teachers.teacher import Teacher


def make_jpegs(folder: Path, count: int) -> None:
    """Distinct 640 x 480 JPEGs: random crops of photographs."""
    rng = np.random.default_rng(0)
    photos = [Image.fromarray(photo()) for photo in (data.astronaut, data.coffee, data.chelsea, data.rocket)]
    for index in range(count):
        photo = photos[index % len(photos)]
        width = int(rng.integers(200, photo.width))
        height = min(width * 3 // 4, photo.height)
        left, top = rng.integers(0, photo.width - width + 1), rng.integers(0, photo.height - height + 1)
        crop = photo.crop((left, top, left + width, top + height))
        crop.resize((640, 480), Image.Resampling.BICUBIC).save(folder / f"{index:06d}.jpg", quality=90)


def decode_rate(request: CacheRequest, planned: PlannedCache, teacher: Teacher) -> tuple[float, list]:
    dataset = SquareDataset(planned.plan, planned.source.root, teacher.square_size)
    device_type = teacher.mean.device.type
    start = time.perf_counter()
    batches = list(
        decoded_batches(
            dataset,
            list(range(planned.plan.num_shards)),
            batch_size=request.batch_size_on(device_type),
            workers=request.workers_on(device_type),
            pin=device_type == "cuda",
        )
    )
    return len(dataset) / (time.perf_counter() - start), batches


def encode_rate(encoder: Encoder, batches: list) -> tuple[float, np.ndarray]:
    encoder(batches[0]).clock.seconds()
    start = time.perf_counter()
    encoded = [encoder(batch) for batch in batches]
    encoded[-1].clock.seconds()
    seconds = time.perf_counter() - start
    return sum(len(batch.rows) for batch in batches) / seconds, np.concatenate(
        [e.codes.numpy() for e in encoded]
    )


def write_rate(root: Path, planned: PlannedCache, codes: np.ndarray) -> float:
    plan = planned.plan
    start = time.perf_counter()
    for shard_id in range(plan.num_shards):
        rows = plan.rows(shard_id)
        report = ShardReport(shard_id=shard_id, num_images=len(rows))
        write_shard(root, plan, shard_id, codes[rows.start : rows.stop], report)
    return len(plan.keys) / (time.perf_counter() - start)


def measure(request: CacheRequest, root: Path) -> dict[str, float]:
    teacher = request.load_teacher()
    planned = plan_cache(request, read_source(request.data, request.images), teacher)
    with build_lock(root):
        create_store(root, planned.plan)
        encoder = Encoder(teacher, request.codec, read_tables(root, planned.plan.codec))
        decode, batches = decode_rate(request, planned, teacher)
        encode, codes = encode_rate(encoder, batches)
        write = write_rate(root, planned, codes)
    shutil.rmtree(root)
    result = build_cache(request)
    shutil.rmtree(result.root)
    return {
        "decode": decode,
        "encode": encode,
        "write": write,
        "end to end": result.num_images_built / result.seconds,
        "share": max(result.busy_seconds.values()) / result.seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teacher", default="dinov2-s")
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default=None, help="float32 or bfloat16")
    parser.add_argument("--device", default=None)
    parser.add_argument("--codec", default="int8")
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--batch-size", type=int, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
        folder = Path(name)
        (folder / "images").mkdir()
        make_jpegs(folder / "images", options.images)
        request = CacheRequest(
            vfm=options.teacher,
            weights="random",
            dtype=options.dtype,
            device=options.device,
            images=folder / "images",
            out=folder / "store",
            codec=options.codec,
            shard_size=max(8, options.images // 4),
            workers=options.workers,
            batch_size=options.batch_size,
        )
        rounds = [measure(request, folder / "stages") for _ in range(options.rounds)]
    rates = {stage: max(found[stage] for found in rounds) for stage in rounds[0]}
    slowest = min(("decode", "encode", "write"), key=lambda stage: rates[stage])
    print(
        f"{options.teacher}, random weights, {options.images} JPEGs of 640 x 480, {torch.get_num_threads()} threads"
    )
    print(f"{'stage':12} {'images/s':>10}")
    for stage in ("decode", "encode", "write", "end to end"):
        print(f"{stage:12} {rates[stage]:10.2f}")
    print(f"end to end / slowest stage alone ({slowest}): {rates['end to end'] / rates[slowest]:.3f}")
    print(f"busiest stage's share of the end-to-end time, same run: {rates['share']:.3f}")


if __name__ == "__main__":
    main()
