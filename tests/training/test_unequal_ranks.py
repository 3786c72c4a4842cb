"""Ranks whose micro-batches have unlike labels and images, with every weight really sharded."""

import json
from pathlib import Path

import pytest

from pipelines.training.backends import deepspeed
from pipelines.training.config import with_overrides
from pipelines.training.folder import read_metrics
from pipelines.training.loop import train
from tests import families
from tests.training.conftest import turns
from tests.training.launch import launch


def share_out_everything(rank: int) -> None:
    """ZeRO-3 by itself keeps small tensors whole on every rank, and all of a tiny model's are small."""
    made = deepspeed.zero_config

    def changed(*arguments, **keywords):
        settings = made(*arguments, **keywords)
        settings["zero_optimization"]["stage3_param_persistence_threshold"] = 0
        return settings

    deepspeed.zero_config = changed


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("llm", ["llama", "qwen2-tied"])
def test_a_rank_without_labels_and_ranks_with_other_numbers_of_parts(config, world, tmp_path: Path, llm: str):
    """One sample has an image and nothing to learn, the other no image and a long answer."""
    entries = [
        {"id": "mute", "image": "00.png", "conversations": turns("<image>\nHow many?", "")},
        {"id": "text", "conversations": turns("Is there a cat?", "no " * 9)},
    ]
    (tmp_path / "mixed.json").write_text(json.dumps(entries))
    parts = families.with_parts(config, tmp_path, llm, "clip")
    changes = {
        "data.annotations": str(tmp_path / "mixed.json"), "data.batch_size": 2, "data.micro_batch_size": 1,
        "optim.max_steps": 2,
    }  # fmt: skip
    parts = with_overrides(parts, changes)
    train(parts, cache=world["cache"], output=tmp_path / "one")
    zero = with_overrides(parts, {"backend": "deepspeed", "zero_stage": 3, "logits_at_once": 4})
    launch(zero, world["cache"], tmp_path / "two", prepare=share_out_everything).succeed()
    pairs = zip(read_metrics(tmp_path / "two"), read_metrics(tmp_path / "one"), strict=True)
    assert all(mine["loss"] == pytest.approx(theirs["loss"], abs=1e-5) for mine, theirs in pairs)
