"""A small cache from every teacher at its real size, random weights, on the CPU: `python bench/teachers.py`.

Each teacher runs in a process of its own with one thread, so that a row's memory is its own and a failure is a row,
too. Seconds are the processor's, of the faster image, so other load hardly counts. Some teachers only:
`python bench/teachers.py dinov2-s aimv2-l`. Rows are appended to `--out` as soon as they are there.
"""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.context import BaseContext
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pipelines.cache_build import build_cache
from pipelines.cache_request import CacheRequest
from stores import get_codec
from viral.teachers import get_teacher
from viral.teachers.flops import count_flops
from viral.teachers.registry import TEACHERS
from viral.teachers.teacher import Teacher

COLUMNS = ("teacher", "dim", "grid", "GFLOPs", "s per image", "GFLOP/s", "bytes per image", "peak GB")


@contextmanager
def teacher_seconds() -> Iterator[list[float]]:
    """Processor seconds of every call of a teacher: with one thread, the wall time of an undisturbed core."""
    found: list[float] = []
    modules = torch.nn.modules.module

    def start(module: torch.nn.Module, _: object) -> None:
        if isinstance(module, Teacher):
            found.append(-time.process_time())

    def stop(module: torch.nn.Module, _: object, __: object) -> None:
        if isinstance(module, Teacher):
            found[-1] += time.process_time()

    hooks = (
        modules.register_module_forward_pre_hook(start),
        modules.register_module_forward_hook(stop),
    )
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def make_images(folder: Path, count: int) -> None:
    """Smooth noise of 640 x 480; what is on a picture changes no figure here."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(count):
        small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        small.resize((640, 480), Image.Resampling.BICUBIC).save(folder / f"{index}.jpg", quality=90)


def measure(name: str, images: int, codec: str, dtype: str) -> tuple[str, ...]:
    """One row; runs in a fresh process."""
    torch.set_num_threads(1)
    spec = get_teacher(name)
    gflops = count_flops(spec) / 1e9
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as temporary:
        folder = Path(temporary)
        make_images(folder / "images", images)
        request = CacheRequest(
            vfm=name,
            weights="random",
            dtype=dtype,
            device="cpu",
            images=folder / "images",
            out=folder / "store",
            codec=codec,
            batch_size=1,
            workers=0,
        )
        with teacher_seconds() as clock:
            result = build_cache(request)
    assert result.manifest is not None
    assert result.num_images_built == len(clock) == images, result
    seconds = min(clock)
    store = result.planned.plan.spec
    size = store.num_tokens * store.dim * np.dtype(get_codec(codec).dtype).itemsize
    return (
        name,
        str(store.dim),
        "x".join(map(str, store.grid)),
        f"{gflops:,.1f}",
        f"{seconds:,.2f}",
        f"{gflops / seconds:,.0f}",
        f"{size:,}",
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("teachers", nargs="*", help="names; all of the registry if none is given")
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--codec", default="fp16")
    parser.add_argument(
        "--dtype", default="float32", help="bfloat16 is faster only where the processor knows it"
    )
    parser.add_argument("--out", type=Path, help="append the rows to this file")
    options = parser.parse_args()
    names = options.teachers or sorted({spec.name for spec in TEACHERS.values()})
    context = get_context("forkserver")  # fresh processes that share the slow imports
    context.set_forkserver_preload(["timm", "transformers", "pipelines.cache_build"])
    show(COLUMNS, options.out)
    show(("---", *["--:"] * (len(COLUMNS) - 1)), options.out)
    for name in names:
        show(row_or_failure(name, options, context), options.out)


def show(cells: tuple[str, ...], out: Path | None) -> None:
    row = f"| {' | '.join(cells)} |"
    print(row, flush=True)
    if out:
        with out.open("a") as file:
            file.write(f"{row}\n")


def row_or_failure(name: str, options: argparse.Namespace, context: BaseContext) -> tuple[str, ...]:
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        row = pool.submit(measure, name, options.images, options.codec, options.dtype)
        try:
            return row.result()
        except Exception as error:
            failure = " ".join(f"{type(error).__name__}: {error}".split())
            return (name, failure, *[""] * (len(COLUMNS) - 2))


if __name__ == "__main__":
    main()
