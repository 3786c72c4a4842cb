"""A dry run says what the run will be, without its weights."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from safetensors import safe_open
from typer.testing import CliRunner

from cli.main import app
from pipelines.training.config import TrainConfig, with_overrides, write_config
from pipelines.training.estimate import estimate, skeleton
from pipelines.training.loop import train
from pipelines.training.optim import trainable
from pipelines.training.setup import build_run
from tests import tiny
from viral.errors import CacheMismatchError, ConfigError, WeightsError

EVERY_OBJECTIVE = ("none", "align", "relation", "reinject_post", "reinject_pre", "align_projected")


def figures(config: TrainConfig, cache: Path | None, **settings):
    given = {"num_ranks": 1, "recipe_batch_size": config.data.batch_size, "tflops": 1.0} | settings
    return estimate(config, cache, Path("runs/none"), **given)


@pytest.fixture
def bare(config, tmp_path: Path) -> TrainConfig:
    """The tiny student as a configuration alone, and no data."""
    tiny.llava_config().save_pretrained(tmp_path / "bare")
    return with_overrides(config, {"model.llava": str(tmp_path / "bare"), "data.annotations": "none.json"})


@pytest.mark.parametrize("objective", EVERY_OBJECTIVE)
def test_the_skeleton_trains_what_the_run_trains(config, world, objective: str):
    config = with_overrides(config, {"align.objective": objective}).resolved()
    module = build_run(config, world["cache"]).module
    bones = skeleton(config, world["cache"], [])
    shapes = {name: tuple(p.shape) for name, p in trainable(bones).items()}
    assert shapes == {name: tuple(p.shape) for name, p in trainable(module).items()}
    assert {p.device.type for p in bones.parameters()} == {"meta"}


def test_figures_of_a_run_that_then_happens(config, world, tmp_path: Path):
    found = figures(config, world["cache"])
    module = build_run(config, world["cache"]).module
    assert sum(g.parameters for g in found.trained) == sum(p.numel() for p in trainable(module).values())
    assert {g.name: g.lr for g in found.trained} == {"LoRA": 1e-3, "projector": 1e-3, "head of align": 1e-3}
    assert found.memory["frozen weights"] == sum(p.nbytes for p in module.parameters() if not p.requires_grad)
    assert (found.num_samples, found.num_steps, found.num_micro, found.missing) == (16, 6, 2, [])
    final = train(config, cache=world["cache"], output=tmp_path / "run")
    written = sum(stored_bytes(path) for path in final.rglob("*.safetensors"))
    assert found.checkpoint_bytes == pytest.approx(written, rel=0.01)
    assert found.disk_bytes == 3 * found.checkpoint_bytes  # keep_last=2, and the one being written
    everything = sum(found.sample_flops.values()) - found.sample_flops["recompute"]
    assert found.seconds == pytest.approx(6 * 4 * everything / 1e12)
    assert found.activations["none"] > found.activations["2"] > found.activations["full"]


def stored_bytes(path: Path) -> int:
    with safe_open(path, "pt") as file:
        return sum(file.get_tensor(name).nbytes for name in file.keys())  # noqa: SIM118


def test_configurations_alone_are_enough(bare):
    found = figures(bare, None)
    assert found.num_samples is None
    assert (found.num_steps, found.tokens_per_sample) == (6, tiny.GRID**2 + 200)
    assert len(found.missing) == 2
    assert "the cache of align (--cache)" in found.missing[0] + found.missing[1]
    without = figures(
        bare.model_copy(update={"optim": bare.optim.model_copy(update={"max_steps": None})}), None
    )
    assert (without.num_steps, without.seconds) == (None, None)


@pytest.mark.parametrize("objective", [*EVERY_OBJECTIVE, "ross"])
def test_every_objective_has_its_cost(bare, objective: str):
    settings = {"align.objective": objective, "align.denoiser_width": 64}
    found = figures(with_overrides(bare, settings), None)
    has_loss = objective not in ("none", "reinject_post", "reinject_pre")
    assert bool(found.sample_flops["terms"]) is has_loss


def test_a_teacher_that_runs_along_trains_the_same_head(bare):
    online = with_overrides(bare, {"align.online": True})
    assert figures(online, None).trained == figures(bare, None).trained


def test_a_teacher_that_runs_along_takes_its_memory_and_operations(config, world):
    from pipelines.training.caches import needs_teacher
    from pipelines.training.modules import build_student
    from pipelines.training.setup import _teachers

    settings = {
        "align.teacher": "micro",
        "align.online": True,
        "also.own.teacher": "tower",
        "also.own.layer": 2,
    }
    online = with_overrides(config, settings).resolved()
    found, cached = figures(online, None), figures(with_overrides(online, {"align.online": False}), None)
    student = build_student(online.model, device="cpu", dtype="float32", seed=0)
    teachers = _teachers(online, {}, student)
    assert [name for name, term in online.terms.items() if needs_teacher(term)] == list(teachers) == ["align"]
    held = sum(p.nbytes for p in teachers["align"].teacher.parameters())
    assert {n: size for n, size in found.memory.items() if n not in cached.memory} == {"teacher align": held}
    (more,) = found.sample_flops.keys() - cached.sample_flops.keys()
    assert more == "teacher align"
    assert found.step_seconds > cached.step_seconds
    assert not any("--cache" in line for line in found.missing)


def test_a_vision_cache_takes_the_tower_out(config, world, tmp_path: Path):
    from tests.training.test_vision_cache import build

    bf16 = with_overrides(config, {"precision": "bf16"})
    vision = build(tmp_path / "vision", world["images"], world["llava"])
    seeing, blind = (figures(bf16, world["cache"], vision_cache=cache) for cache in (None, vision))
    weights = sum(p.numel() for p in tiny.llava().model.vision_tower.parameters())
    assert seeing.spared is None
    assert (blind.spared.bytes, blind.spared.flops) == (2 * weights, seeing.sample_flops["tower"])
    assert blind.sample_flops["tower"] == 0
    assert seeing.frozen_parameters - blind.frozen_parameters == weights
    saved = seeing.memory["frozen weights"] - blind.memory["frozen weights"]
    assert saved == blind.spared.bytes
    module = build_run(bf16.resolved(), world["cache"], vision_cache=vision).module
    assert blind.memory["frozen weights"] == sum(p.nbytes for p in module.parameters() if not p.requires_grad)
    small = build(tmp_path / "grid", world["images"], world["llava"], grid=2)
    with pytest.raises(CacheMismatchError, match=r"built with grid=\(2, 2\)"):
        figures(bf16, world["cache"], vision_cache=small)


def test_ranks_share(bare):
    alone, two = figures(bare, None), figures(bare, None, num_ranks=2)
    assert two.seconds == pytest.approx(alone.seconds / 2)
    assert two.memory == alone.memory
    zero3 = figures(with_overrides(bare, {"backend": "deepspeed", "zero_stage": 3}), None, num_ranks=2)
    assert zero3.memory["AdamW"] == alone.memory["AdamW"] // 2
    assert zero3.memory["frozen weights"] < alone.memory["frozen weights"]
    with pytest.raises(ConfigError, match="does not split over 3 ranks"):
        figures(bare, None, num_ranks=3)


def test_a_batch_unlike_the_recipes_is_shown_and_json_has_it_all(config, world, tmp_path: Path):
    (tmp_path / "config.yaml").write_text(write_config(config))
    words = ["train", "--dry-run", "--config", str(tmp_path / "config.yaml"), "--cache", str(world["cache"])]
    words += ["--output", str(tmp_path / "run"), "--tflops", "1", "data.batch_size=8"]
    text = CliRunner().invoke(app, words).stdout
    assert "8 = 2 samples x 1 ranks x 4 micro-batches; 4 in the recipe" in text
    assert "head of align" in text
    found = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    config = with_overrides(config, {"data.batch_size": 8})
    expected = asdict(figures(config, world["cache"], recipe_batch_size=4)) | {
        "disk_free": found["disk_free"]
    }
    assert found == expected
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["train", "pretrain"])
def test_options_of_an_estimate_alone_are_refused(command: str):
    done = CliRunner().invoke(app, [command, "--ranks", "4"])
    assert isinstance(done.exception, ConfigError)
    assert "go with --dry-run" in str(done.exception)


def test_what_the_run_would_refuse_is_refused(bare, world):
    with pytest.raises(ConfigError, match=r"layers 0 .input. to 4"):
        figures(with_overrides(bare, {"align.layer": 17}), None)
    with pytest.raises(ConfigError, match=r"lora.rank=9999999 is more than .* set lora.rank=\d+ or less"):
        figures(with_overrides(bare, {"lora.rank": 9999999}), None)
    with pytest.raises(WeightsError, match="/nowhere"):
        figures(with_overrides(bare, {"model.llava": "/nowhere"}), None)
    tiny.llava_config().text_config.save_pretrained(bare.model.llava)
    with pytest.raises(WeightsError, match="is a llama model, expected a LLaVA"):
        figures(bare, None)
