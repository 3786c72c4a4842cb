"""What alignment costs a training step: VIRAL / baseline, steps alternating in one process.

    python bench/overhead.py [--pairs 20]

Two students: the micro-world's, and a LLaVA-1.5-7B scaled down with its proportions kept: every width divided
by 16, every depth by 4, but the real 576 visual tokens at 336 px. Weights and targets of the scaled one are
random, so only its times mean anything. The FLOP floor is the alignment head's share of the step.
"""

import argparse
import hashlib
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data as photographs

from pipelines.cache_build import build_cache
from pipelines.cache_request import CacheRequest
from pipelines.recipes import get_recipe, scaled_llava15
from pipelines.training.config import TrainConfig, with_overrides
from pipelines.training.setup import build_run
from pipelines.training.timing import median_ratio, paired_step_times
from stores import CosineStats, Plan, ShardReport, StoreSpec, create_store, finish_store, write_shard
from viral.microworld.instructions import ANNOTATIONS, IMAGES, write_instructions
from viral.mllm.scaled import WIDTH, write_scaled_llava

GRID, TEACHER_DIM = 24, 768 // WIDTH


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--pairs", type=int, default=20)
    pairs = arguments.parse_args().pairs
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {pairs} alternating pairs\n")
    print(f"{'student':<22}{'baseline':>10}{'VIRAL':>10}{'ratio':>9}{'95 % interval':>20}")
    for name, situation in (("micro-world", micro_world), ("LLaVA-7B / 16 / 4", scaled_llava)):
        with tempfile.TemporaryDirectory() as folder:
            viral, cache = situation(Path(folder))
            baseline = with_overrides(viral, {"align.objective": "none"})
            runs = [build_run(config, cache) for config in (baseline, viral)]
            seconds = paired_step_times(runs, pairs)
        ratio, low, high = median_ratio(seconds)
        slow, fast = 1000 * np.median(seconds, axis=0)
        print(f"{name:<22}{slow:>7.0f} ms{fast:>7.0f} ms{ratio:>9.3f}{low:>12.3f} to {high:.3f}")


def micro_world(folder: Path) -> tuple[TrainConfig, Path]:
    """The demo's recipe on a part of its data."""
    write_instructions(folder / "data", num_samples=1600)
    paths = {"data": folder / "data" / ANNOTATIONS, "images": folder / "data" / IMAGES}
    build_cache(CacheRequest(vfm="micro", out=folder / "cache", **paths))
    overrides = {"data.annotations": str(paths["data"]), "data.images": str(paths["images"])}
    return with_overrides(get_recipe("micro_viral"), overrides), folder / "cache"


def scaled_llava(folder: Path) -> tuple[TrainConfig, Path]:
    """LLaVA-1.5-7B with widths / 16 and depths / 4, on photographs, with the paper's LoRA and head proportions."""
    names = write_photographs(folder / "images")
    write_annotations(folder / "data.json", names)
    write_scaled_llava(folder / "llava")
    write_random_store(folder / "cache", folder / "images", names)
    config = scaled_llava15(folder / "llava", folder / "data.json", folder / "images")
    return with_overrides(config, {"optim.num_epochs": 100}), folder / "cache"


def write_photographs(folder: Path, count: int = 24) -> list[str]:
    folder.mkdir()
    photograph = Image.fromarray(photographs.astronaut()).resize((700, 540))
    names = [f"{index:03d}.jpg" for index in range(count)]
    for index, name in enumerate(names):
        photograph.crop((index, index, index + 640, index + 480)).save(folder / name, quality=90)
    return names


def write_annotations(path: Path, names: list[str]) -> None:
    """About 200 text tokens a sample, a hundred of them supervised, as in LLaVA-665K."""
    turns = [
        ("<image>\nIs there a red circle in the image?", "yes"),
        ("How many circles are there?", "three " * 16),
    ]
    conversation = [
        {"from": speaker, "value": text}
        for turn in turns
        for speaker, text in zip(("human", "gpt"), turn, strict=True)
    ]
    path.write_text(
        json.dumps([{"id": name, "image": name, "conversations": conversation} for name in names])
    )


def write_random_store(root: Path, images: Path, names: list[str]) -> None:
    spec = StoreSpec(
        codec="int8",
        grid=(GRID, GRID),
        dim=TEACHER_DIM,
        fingerprint={"teacher": "dinov2-b", "profile": "paper", "weights": "none: random targets for timing"},
    )
    keys = tuple(hashlib.sha256((images / name).read_bytes()).hexdigest() for name in names)
    plan = Plan(spec=spec, keys=keys, paths=tuple(names))
    create_store(root, plan)
    codes = np.random.default_rng(0).integers(-127, 128, (len(names), *spec.record_shape), dtype=np.int8)
    exact = CosineStats(mean=1.0, p001=1.0, worst=1.0)
    write_shard(root, plan, 0, codes, ShardReport(shard_id=0, num_images=len(names), cosine=exact))
    finish_store(root, plan)


if __name__ == "__main__":
    main()
