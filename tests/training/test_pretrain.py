"""Stage one: the projector alone learns, resumes to the bit, and is what stage two starts from."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlavaForConditionalGeneration
from typer.testing import CliRunner

from cli.main import app
from pipelines.training.checkpoint import latest_checkpoint, load_checkpoint
from pipelines.training.config import TrainConfig, with_overrides, write_config
from pipelines.training.export import export_run
from pipelines.training.folder import read_metrics
from pipelines.training.loop import train
from pipelines.training.optim import trainable
from pipelines.training.setup import build_run
from tests import families
from tests.training.launch import launch
from viral.errors import ConfigError, WeightsError
from viral.mllm.lora import PROJECTOR


@pytest.fixture(scope="module")
def stage_one(config, tmp_path_factory) -> tuple[TrainConfig, Path]:
    root = tmp_path_factory.mktemp("pretrain")
    made = with_overrides(
        families.with_parts(config, root, "qwen2", "siglip"),
        {
            "model.projector": "random", "lora": None, "align.objective": "none", "data.template": "plain",
            "data.image_mode": "crop", "data.micro_batch_size": 1, "optim.projector_lr": 0.01,
        },
    )  # fmt: skip
    train(made, cache=None, output=root / "run")
    return made, root / "run"


def test_stage_one_trains_the_projector_and_nothing_else(stage_one):
    config, run = stage_one
    fresh = build_run(config, None)
    assert all(PROJECTOR in name for name in trainable(fresh.module))
    assert len(trainable(fresh.module)) == 4
    (group,) = fresh.optimizer.param_groups
    assert (len(group["params"]), group["base_lr"]) == (4, 0.01)
    start = {
        name: tensor.clone() for name, tensor in fresh.module.core.multi_modal_projector.named_parameters()
    }
    frozen = {n: p.clone() for n, p in fresh.module.named_parameters() if PROJECTOR not in n}
    checkpoint = latest_checkpoint(run / "checkpoints")
    assert load_checkpoint(checkpoint, fresh.module)[0] == 6
    trained = load_file(checkpoint / "projector.safetensors")
    assert {name for name in trained if not torch.equal(trained[name], start[name])} == start.keys()
    assert all(torch.equal(frozen[n], p) for n, p in fresh.module.named_parameters() if PROJECTOR not in n)
    assert fresh.dataset.encoding.image_mode == "crop"
    assert read_metrics(run)[0]["lr"] < 0.01 == max(line["lr"] for line in read_metrics(run))


def test_stage_one_resumes_exactly(stage_one, tmp_path: Path):
    config, run = stage_one
    shutil.copytree(run, tmp_path / "run")
    checkpoints = tmp_path / "run" / "checkpoints"
    (checkpoints / "LATEST").write_text("step-000004")
    train(config, cache=None, output=tmp_path / "run", resume=True)
    first, second = (
        load_file(root / "checkpoints" / "step-000006" / "projector.safetensors")
        for root in (run, tmp_path / "run")
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    losses = [[line["loss"] for line in read_metrics(root)] for root in (run, tmp_path / "run")]
    assert losses[0] == losses[1]


@pytest.mark.slow
@pytest.mark.parametrize("backend", [("ddp", 2), ("deepspeed", 2), ("deepspeed", 3)], ids=str)
def test_two_ranks_make_the_projector_of_one(stage_one, tmp_path: Path, backend):
    """Up to the order of sums."""
    config, run = stage_one
    split = with_overrides(config, dict(zip(("backend", "zero_stage"), backend, strict=True)))
    started = launch(split, None, tmp_path / "run")
    assert started.wait(240) == [0, 0], started.said()
    alone, together = (
        load_file(latest_checkpoint(root / "checkpoints") / "projector.safetensors")
        for root in (run, tmp_path / "run")
    )
    assert alone.keys() == together.keys()
    for name in alone:
        torch.testing.assert_close(together[name], alone[name], rtol=1e-3, atol=1e-4)


def test_stage_two_starts_from_stage_ones_projector(stage_one, config, world):
    one, run = stage_one
    projector = latest_checkpoint(run / "checkpoints") / "projector.safetensors"
    for source in (projector, projector.parent):
        two = with_overrides(one, {"model.projector": str(source), "lora": {"rank": 4, "alpha": 8}})
        started = build_run(with_overrides(two, {"data.template": "qwen_2"}), None)
        weight = started.module.core.multi_modal_projector.linear_1.weight
        assert torch.equal(weight, load_file(projector)["linear_1.weight"])
        assert [group["base_lr"] for group in started.optimizer.param_groups] == [1e-3, 0.01]


def test_stage_one_is_exported_too(stage_one, tmp_path: Path):
    _, run = stage_one
    exported = export_run(run, tmp_path / "model")
    plain = LlavaForConditionalGeneration.from_pretrained(exported).eval()
    trained = load_file(latest_checkpoint(run / "checkpoints") / "projector.safetensors")
    assert torch.equal(plain.model.multi_modal_projector.linear_2.weight, trained["linear_2.weight"])
    assert not (exported / "chat_template.jinja").exists()
    assert json.loads((exported / "processor_config.json").read_text())["image_processor"]["do_pad"] is False


def test_a_random_projector_is_that_of_the_runs_seed(stage_one):
    config, _ = stage_one
    weights = [
        build_run(
            with_overrides(config, {"seed": seed}), None
        ).module.core.multi_modal_projector.linear_1.weight
        for seed in (1, 1, 2)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_command_leaves_a_projector_for_stage_two(stage_one, tmp_path: Path):
    config, run = stage_one
    (tmp_path / "config.yaml").write_text(write_config(config))
    arguments = ["pretrain", "--config", str(tmp_path / "config.yaml"), "--output", str(tmp_path / "run")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    projector = tmp_path / "run" / "projector.safetensors"
    assert f"model.projector={projector}" in result.output
    expected = load_file(latest_checkpoint(run / "checkpoints") / "projector.safetensors")
    made = load_file(projector)
    assert made.keys() == expected.keys()
    assert all(torch.equal(made[name], expected[name]) for name in expected)


@pytest.mark.parametrize("options", [[], ["--dry-run"]], ids=["run", "dry run"])
@pytest.mark.parametrize("settings", [[], ["lora=null", "align.objective=none", "also.sam.teacher=sam-b"]])
def test_the_command_wants_a_run_of_the_projector_alone(settings: list[str], options: list[str]):
    result = CliRunner().invoke(app, ["pretrain", "--recipe", "llava15_7b_viral", *settings, *options])
    assert isinstance(result.exception, ConfigError)
    assert "set lora=null and align.objective=none" in str(result.exception)


def test_stage_two_without_its_projector_says_who_makes_it(stage_one, tmp_path: Path):
    two = with_overrides(stage_one[0], {"model.projector": "runs/nowhere/projector.safetensors"})
    with pytest.raises(WeightsError, match=r"No projector at runs/nowhere.*`viral pretrain` \(stage one\)"):
        train(two, cache=None, output=tmp_path / "run")
