"""Write a scaled-down LLaVA-1.5 with random weights, and a training configuration for it.

    python examples/scaled_llava.py PHOTOS

PHOTOS is a folder made by examples/photos.py. Afterwards PHOTOS/llava is the model, PHOTOS/config.yaml trains it
on the photographs for a few steps. The weights are random: this shows that everything runs, nothing more.
"""

import sys
from pathlib import Path

from pipelines.recipes import scaled_llava15
from pipelines.training.config import with_overrides, write_config
from viral.mllm.scaled import write_scaled_llava


def main(folder: Path) -> None:
    write_scaled_llava(folder / "llava")
    config = with_overrides(
        scaled_llava15(folder / "llava", folder / "photos.json", folder / "images"),
        {"name": "photos", "optim.max_steps": 4, "data.on_bad_image": "skip", "align.weights": "random"},
    )
    (folder / "config.yaml").write_text(write_config(config))
    print(f"wrote {folder / 'llava'} (random weights) and {folder / 'config.yaml'}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
