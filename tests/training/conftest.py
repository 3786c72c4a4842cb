"""A small complete training situation: pictures, LLaVA annotations, a finished feature store, a student."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.training.config import TrainConfig, parse_config
from stores import (
    CosineStats,
    Plan,
    Reject,
    ShardReport,
    StoreSpec,
    create_store,
    finish_store,
    get_codec,
    write_shard,
)
from stores.arrays import read_tables
from tests import tiny
from viral.data.keys import key_function

DIM, NUM_IMAGES, NUM_TEXT = 20, 12, 4
FINGERPRINT = {"teacher": "dinov2-b", "profile": "paper"}


def write_images(folder: Path) -> list[str]:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = [f"{index:02d}.png" for index in range(NUM_IMAGES)]
    for name in names:
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(folder / name)
    return names


def write_annotations(path: Path, names: list[str]) -> Path:
    entries = [
        {"id": name, "image": name, "conversations": turns(f"<image>\nHow many {name}?", name[:2])}
        for name in names
    ]
    entries += [{"id": f"text-{i}", "conversations": turns("Is there a cat?", "no")} for i in range(NUM_TEXT)]
    path.write_text(json.dumps(entries))
    return path


def turns(question: str, answer: str) -> list[dict[str, str]]:
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


def write_store(
    root: Path, images: Path, names: list[str], *, grid: int = tiny.GRID, rejected: str | None = None,
    codec: str = "int8", fingerprint: dict | None = None, poisoned: Sequence[str] = (),
) -> Path:  # fmt: skip
    """A finished store of random features, made through the public API; `poisoned` images (fp16) hold NaN."""
    spec = StoreSpec(
        codec=codec, grid=(grid, grid), dim=DIM, fingerprint=fingerprint or FINGERPRINT, shard_size=8
    )
    key_of = key_function(spec.fingerprint)
    keys = tuple(key_of(name, (images / name).read_bytes()) for name in names)
    plan = Plan(spec=spec, keys=keys, paths=tuple(names))
    create_store(root, plan)
    coder = get_codec(codec)
    tables = read_tables(root, coder)
    rng = np.random.default_rng(1)
    common = 2 * rng.standard_normal(DIM, dtype=np.float32)  # what real features share, and a head can learn
    for shard in range(plan.num_shards):
        rows = plan.rows(shard)
        features = common + rng.standard_normal((len(rows), grid * grid, DIM), dtype=np.float32)
        codes = coder.encode(features, tables)
        decoded = coder.decode(codes, tables)
        rejects = tuple(
            Reject(path=plan.paths[row], reason="not a readable image", key=keys[row])
            for row in rows
            if plan.paths[row] == rejected
        )
        codes[[row - rows.start for row in rows if plan.paths[row] == rejected]] = 0
        if poisoned:
            codes[[row - rows.start for row in rows if plan.paths[row] in poisoned]] = np.nan
        report = ShardReport(
            shard_id=shard,
            num_images=len(rows),
            rejects=rejects,
            cosine=_statistics(features, decoded),
        )
        write_shard(root, plan, shard, codes, report)
    finish_store(root, plan)
    return root


def _statistics(features: np.ndarray, decoded: np.ndarray) -> CosineStats:
    norms = np.linalg.norm(features, axis=-1) * np.linalg.norm(decoded, axis=-1)
    cosines = (features * decoded).sum(-1) / norms
    return CosineStats(
        mean=float(cosines.mean()), p001=float(np.quantile(cosines, 0.001)), worst=float(cosines.min())
    )


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, llava_dir: Path) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("world")
    names = write_images(root / "images")
    return {
        "images": root / "images",
        "annotations": write_annotations(root / "llava.json", names),
        "cache": write_store(root / "cache", root / "images", names),
        "llava": llava_dir,
    }


@pytest.fixture(scope="session")
def config(world: dict[str, Path]) -> TrainConfig:
    return parse_config(
        {
            "name": "tiny",
            "model": {"llava": str(world["llava"])},
            "data": {
                "annotations": str(world["annotations"]), "images": str(world["images"]), "max_length": 256,
                "batch_size": 4, "micro_batch_size": 2, "num_workers": 0,
            },
            "lora": {"rank": 4, "alpha": 8, "dropout": 0.1},
            "align": {"layer": 2, "head_width": 16},
            "optim": {"lr": 1e-3, "projector_lr": 1e-3, "max_steps": 6},
            "precision": "fp32", "gradient_checkpointing": False, "device": "cpu", "save_every": 2, "keep_last": 2,
        }
    )  # fmt: skip
