"""How long does planning take, and how much memory? A synthetic LLaVA mix: 665K entries over 380K image paths.

    python bench/plan.py                            # the size of llava_v1_5_mix665k
    python bench/plan.py --entries 20000 --growth   # 1x, 4x, 16x of a smaller one

Image files are a few bytes each (planning decodes nothing), so "hash" shows the cost per file, not that of reading.
Every figure comes from a process of its own. Memory: the peak resident size, and what importing torch and loading
the smallest teacher had taken before planning began.

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
from pathlib import Path

ENTRIES, IMAGES_PER_ENTRY, TEXT_ONLY_EVERY = 665_298, 380_000 / 665_298, 16
TURNS, TAG, TEXT = 10, "<image>\n", "What is the colour of that thing over there beside the red house? " * 2
GROWTH = (1, 4, 16)
FOLDERS = ("coco/train2017", "gqa/images", "ocr_vqa/images", "textvqa/train_images", "vg/VG_100K")
STEPS = ("read", "hash", "again", "trusted", "plan.json")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entries", type=int, default=ENTRIES, help="annotation entries")
    parser.add_argument("--growth", action="store_true", help="also 4 and 16 times as many")
    parser.add_argument("--folder", type=Path, help="where to write the data (default: the temporary folder)")
    parser.add_argument("--measure", choices=STEPS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.folder)))
        return
    print(
        f"{'entries':>9} {'images':>8} {'MB':>6}"
        + "".join(f"{step:>12}" for step in STEPS)
        + "   s, then peak MB"
    )
    for factor in GROWTH if arguments.growth else (1,):
        report(arguments.entries * factor, arguments.folder)


def report(num_entries: int, parent: Path | None) -> None:
    """Make data of this size and print one line each of seconds and peak MB."""
    with tempfile.TemporaryDirectory(dir=parent) as name:
        folder = Path(name)
        num_images = write_data(folder, num_entries)
        size = (folder / "data.json").stat().st_size / 1e6
        time.sleep(3)  # files changed in the last two seconds are not remembered
        found = {step: run(step, folder) for step in STEPS}
    print(
        f"{num_entries:>9} {num_images:>8} {size:>6.0f}"
        + "".join(f"{found[step]['seconds']:>12.1f}" for step in STEPS)
    )
    print(" " * 25 + "".join(f"{found[step]['peak']:>12.0f}" for step in STEPS))
    print(f"{'before':>25}" + "".join(f"{found[step]['before']:>12.0f}" for step in STEPS), flush=True)


def run(step: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", step, "--folder", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def measure(step: str, folder: Path) -> dict[str, float]:
    """Seconds and MB of one step, in this process."""
    from pipelines.cache_plan import plan_cache, read_source
    from pipelines.cache_request import CacheRequest
    from stores.canonical import canonical_json, seal

    request = CacheRequest(
        vfm="micro",
        weights="random",
        device="cpu",
        data=folder / "data.json",
        images=folder / "images",
        out=folder / "store",
        trust_paths=step == "trusted",
    )
    teacher = request.load_teacher()
    before = peak_megabytes()
    start = time.perf_counter()
    source = read_source(request.data, request.images)
    if step != "read":
        start = time.perf_counter()
        planned = plan_cache(request, source, teacher)
        assert planned.num_read == (len(source.paths) if step == "hash" else 0), planned.num_read
    if step == "plan.json":
        start = time.perf_counter()
        canonical_json(seal(planned.plan.to_json()))
    return {"seconds": time.perf_counter() - start, "peak": peak_megabytes(), "before": before}


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


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
