"""Stage one from end to end against its slowest single stage: `python bench/stage_one.py --images 96`.

Each stage runs alone on all the machine has, then the real `build_cache` runs; the rounds alternate, and the best of
each is kept, so that other load on the machine disturbs little. A perfect pipeline is as fast as its slowest stage:
efficiency is its rate over that stage's. That stage is then never idle; its busy share, which a shared machine does
not distort, is shown beside it. MFU is the encoder's rate in FLOP/s, the teacher's forward pass alone counted, over
what a large matrix product reaches on the same device in the same dtype. Without `--teachers`: DINOv2-B and L on a GPU,
DINOv2-S and the micro teacher elsewhere.
"""

import argparse
import os
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data
from torch.utils.flop_counter import FlopCounterMode

from pipelines.cache_build import build_cache
from pipelines.cache_decode import SquareDataset, decoded_batches
from pipelines.cache_encode import Encoder
from pipelines.cache_plan import PlannedCache, plan_cache, read_source
from pipelines.cache_request import CacheRequest
from pipelines.cache_shards import WRITERS
from stores import ShardReport, build_lock, create_store, write_shard
from stores.arrays import read_tables
from viral.device import pick_device
from viral.teachers.teacher import Teacher

STAGES = ("decode", "encode", "write")
CEILING_SIDE = {"cuda": 8192, "cpu": 1024}
"""Of the square matrices whose product is the device's ceiling."""


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

    def write(shard_id: int) -> None:
        rows = plan.rows(shard_id)
        report = ShardReport(shard_id=shard_id, num_images=len(rows))
        write_shard(root, plan, shard_id, codes[rows.start : rows.stop], report)

    start = time.perf_counter()
    with ThreadPoolExecutor(WRITERS) as writers:
        list(writers.map(write, range(plan.num_shards)))
    return len(plan.keys) / (time.perf_counter() - start)


def flops_per_image(teacher: Teacher) -> int:
    side = teacher.spec.image_size
    with FlopCounterMode(display=False) as counter:
        teacher(torch.zeros(1, side, side, 3, dtype=torch.uint8))
    return counter.get_total_flops()


def ceiling_flops(device: torch.device, dtype: torch.dtype, repeats: int = 20) -> float:
    """FLOP/s of a square matrix product."""
    side = CEILING_SIDE[device.type]
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    left @ right
    wait()
    start = time.perf_counter()
    for _ in range(repeats):
        left @ right
    wait()
    return repeats * 2 * side**3 / (time.perf_counter() - start)


def measure(request: CacheRequest, root: Path) -> dict[str, float]:
    teacher = request.load_teacher()
    flops = flops_per_image(teacher)
    ceiling = ceiling_flops(teacher.mean.device, teacher.dtype)
    planned = plan_cache(request, read_source(request.data, request.images), teacher)
    with build_lock(root):
        create_store(root, planned.plan)
        if request.compile:
            teacher.compile()
        encoder = Encoder(teacher, request.codec, read_tables(root, planned.plan.codec))
        decode, batches = decode_rate(request, planned, teacher)
        encode, codes = encode_rate(encoder, batches)
        write = write_rate(root, planned, codes)
    shutil.rmtree(root)
    del teacher, encoder, batches, codes  # the build loads its own
    result = build_cache(request)
    shutil.rmtree(result.root)
    return {
        "decode": decode,
        "encode": encode,
        "write": write,
        "end to end": result.num_images_built / result.seconds,
        "busy share": max(result.busy_seconds.values()) / result.seconds,
        "TFLOP/s": encode * flops / 1e12,
        "ceiling": ceiling / 1e12,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teachers", default=None, help="names with commas between")
    parser.add_argument("--images", type=int, default=None, help="default: 4096 on a GPU, 96 elsewhere")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default=None, help="float32 or bfloat16")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--codec", default="int8")
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--batch-size", type=int, default=None)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    device = pick_device(options.device)
    on_gpu = device.type == "cuda"
    images = options.images or (4096 if on_gpu else 96)
    teachers = (options.teachers or ("dinov2-b,dinov2-l" if on_gpu else "dinov2-s,micro")).split(",")
    name = torch.cuda.get_device_name(device) if on_gpu else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}; {images} JPEGs of 640 x 480, random weights, codec {options.codec}; images/s\n")
    print(
        "| teacher | decode | encode | write | end to end | slowest | efficiency | busy share | TFLOP/s | MFU |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as temporary:
        folder = Path(temporary)
        (folder / "images").mkdir()
        make_jpegs(folder / "images", images)
        for teacher in teachers:
            request = CacheRequest(
                vfm=teacher,
                weights="random",
                dtype=options.dtype,
                device=str(device),
                images=folder / "images",
                out=folder / "store",
                codec=options.codec,
                shard_size=max(8, min(512, images // 4)),
                workers=options.workers,
                batch_size=options.batch_size,
                compile=options.compile,
            )
            rounds = [measure(request, folder / "stages") for _ in range(options.rounds)]
            best = {what: max(found[what] for found in rounds) for what in rounds[0]}
            slowest = min(STAGES, key=best.__getitem__)
            print(
                f"| {teacher} | {best['decode']:.2f} | {best['encode']:.2f} | {best['write']:.2f} "
                f"| {best['end to end']:.2f} | {slowest} | {best['end to end'] / best[slowest]:.3f} "
                f"| {best['busy share']:.3f} | {best['TFLOP/s']:.3g} | {best['TFLOP/s'] / best['ceiling']:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
