"""How long does planning take, and how much memory? A synthetic LLaVA mix: 665K entries over 380K image paths.

    python bench/plan.py                            # the size of llava_v1_5_mix665k
    python bench/plan.py --entries 20000 --growth   # 1x, 4x, 16x of a smaller one

Image files are a few bytes each (planning decodes nothing), so "hash" shows the cost per file, not that of reading.
Three lines for each size: seconds, seconds of CPU (which other work on the machine does not change much), and peak
resident MB so far, all steps in one process. "start" is what importing torch and loading the smallest teacher take
before planning begins.

read        annotations -> image paths, and their check as conversations
hash        first plan: find and hash every image file
again       second plan: nothing has changed, hashes are remembered
trusted     the same with --trust-paths, without any hash
plan.json   digest and JSON of the plan, as `viral cache build` writes it
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

ENTRIES, IMAGES_PER_ENTRY, TEXT_ONLY_EVERY = 665_298, 380_000 / 665_298, 16
TURNS, TAG, TEXT = 10, "<image>\n", "What is the colour of that thing over there beside the red house? " * 2
GROWTH = (1, 4, 16)
FOLDERS = ("coco/train2017", "gqa/images", "ocr_vqa/images", "textvqa/train_images", "vg/VG_100K")
STEPS = ("start", "read", "hash", "again", "trusted", "plan.json")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entries", type=int, default=ENTRIES, help="annotation entries")
    parser.add_argument("--growth", action="store_true", help="also 4 and 16 times as many")
    parser.add_argument("--folder", type=Path, help="where to write the data (default: the temporary folder)")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.folder)))
        return
    print(f"{'':36}" + "".join(f"{step:>11}" for step in STEPS))
    for factor in GROWTH if arguments.growth else (1,):
        report(arguments.entries * factor, arguments.folder)


def report(num_entries: int, parent: Path | None) -> None:
    """Make data of this size, plan it in a process of its own, and print what that took."""
    with tempfile.TemporaryDirectory(dir=parent) as name:
        folder = Path(name)
        num_images = write_data(folder, num_entries)
        size = (folder / "data.json").stat().st_size / 1e6
        time.sleep(3)  # files changed in the last two seconds are not remembered
        command = [sys.executable, __file__, "--measure", "--folder", name]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    costs = [Cost(*cost) for cost in json.loads(done.stdout)]
    print(f"{num_entries:,} entries, {num_images:,} images, {size:,.0f} MB")
    for field in Cost._fields:
        print(f"{field:>36}" + "".join(f"{getattr(cost, field):>11.1f}" for cost in costs), flush=True)


class Cost(NamedTuple):
    """Of one step."""

    seconds: float
    cpu_seconds: float
    peak_megabytes: float


def measure(folder: Path) -> list[Cost]:
    """What each step costs in this process."""
    costs = []

    @contextmanager
    def step() -> Iterator[None]:
        start, cpu_start = time.perf_counter(), time.process_time()
        yield
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        costs.append(Cost(time.perf_counter() - start, time.process_time() - cpu_start, peak))

    with step():  # start
        from pipelines.cache_plan import plan_cache, read_source
        from pipelines.cache_request import CacheRequest
        from stores.canonical import canonical_json, seal

        data, images, out = folder / "data.json", folder / "images", folder / "store"
        request = CacheRequest(vfm="micro", weights="random", device="cpu", data=data, images=images, out=out)
        teacher = request.load_teacher()
    with step():  # read
        source = read_source(request.data, request.images)
    with step():  # hash
        planned = plan_cache(request, source, teacher)
    assert planned.num_read == len(source.paths), planned.num_read
    with step():  # again
        planned = plan_cache(request, source, teacher)
    assert planned.num_read == 0, planned.num_read
    with step():  # trusted
        planned = plan_cache(replace(request, trust_paths=True), source, teacher)
    with step():  # plan.json
        canonical_json(seal(planned.plan.to_json()))
    return costs


def write_data(folder: Path, num_entries: int) -> int:
    """Annotations and the image files they name; returns how many files."""
    num_images = round(num_entries * IMAGES_PER_ENTRY)
    names = [f"{FOLDERS[number % len(FOLDERS)]}/{number:012d}.jpg" for number in range(num_images)]
    for part in FOLDERS:
        (folder / "images" / part).mkdir(parents=True)
    for number, name in enumerate(names):
        descriptor = os.open(folder / "images" / name, os.O_WRONLY | os.O_CREAT)
        os.write(descriptor, b"image %d" % number)
        os.close(descriptor)
    with (folder / "data.json").open("w") as file:
        for number, entry in enumerate(entries(num_entries, names)):
            file.write(("," if number else "[") + "\n" + json.dumps(entry))
        file.write("]")
    return num_images


def entries(number: int, names: list[str]) -> Iterator[dict[str, object]]:
    for index in range(number):
        has_image = index < len(names) or index % TEXT_ONLY_EVERY > 0
        turns = [
            {"from": ("human", "gpt")[turn % 2], "value": TAG * (has_image and turn == 0) + TEXT[turn:]}
            for turn in range(TURNS)
        ]
        image = {"image": names[index % len(names)]} if has_image else {}
        yield {"id": f"{index % len(names):012d}", **image, "conversations": turns}


if __name__ == "__main__":
    main()
