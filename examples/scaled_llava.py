"""Write a scaled-down LLaVA-1.5 with random weights, and a training configuration for it.

    python examples/scaled_llava.py PHOTOS

PHOTOS is a folder made by examples/photos.py. Afterwards PHOTOS/llava is the model, PHOTOS/config.yaml trains it
on the photographs for a few steps. The weights are random: this shows that everything runs, nothing more.
"""

import sys
from pathlib import Path

from pipelines.training.config import parse_config, write_config
from viral.mllm.scaled import DEPTH, WIDTH, write_scaled_llava


def main(folder: Path) -> None:
    write_scaled_llava(folder / "llava")
    config = parse_config(
        {
            "name": "photos",
            "model": {"llava": str(folder / "llava")},
            "data": {
                "annotations": str(folder / "photos.json"),
                "images": str(folder / "images"),
                "batch_size": 4,
                "micro_batch_size": 4,
                "num_workers": 1,
                "on_bad_image": "skip",
            },
            "lora": {"rank": 128 // WIDTH, "alpha": 256 // WIDTH},
            "align": {"layer": 16 // DEPTH, "head_width": 2048 // WIDTH, "weights": "random"},
            "optim": {"max_steps": 4},
            "precision": "fp32",
            "gradient_checkpointing": False,
        }
    )
    (folder / "config.yaml").write_text(write_config(config))
    print(f"wrote {folder / 'llava'} (random weights) and {folder / 'config.yaml'}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
