"""What counts as done: whole results of the right making, and nothing less. Real parts, two steps of training."""

import json
import shutil
from pathlib import Path

import pytest

from pipelines.cache_build import build_cache
from pipelines.cache_request import CacheRequest
from pipelines.evaluate import evaluate
from pipelines.recipes import get_recipe
from pipelines.reproduce import done
from pipelines.training.config import TrainConfig, with_overrides
from pipelines.training.export import export_run
from pipelines.training.loop import train
from stores import load_plan
from stores.layout import MANIFEST
from viral.microworld.benchmarks import write_benchmarks
from viral.microworld.instructions import ANNOTATIONS, IMAGES, write_instructions

MICRO = {"vfm": "micro", "profile": "paper", "codec": "int8"}


class Made:
    """A finished chain of steps below a folder."""

    def __init__(self, root: Path) -> None:
        self.cache, self.run, self.model = root / "cache", root / "run", root / "model"
        self.replies, self.benchmarks, self.data = root / "eval", root / "benchmarks", root / "data"

    @property
    def config(self) -> TrainConfig:
        paths = {"data.annotations": str(self.data / ANNOTATIONS), "data.images": str(self.data / IMAGES)}
        small = {"data.batch_size": 4, "data.micro_batch_size": 4, "data.num_workers": 0, "save_every": 1}
        return with_overrides(get_recipe("micro_viral"), paths | small)

    @property
    def states(self) -> list[bool]:
        return [
            done.cache_is_done(self.cache, **MICRO),
            done.run_is_done(self.run, self.config, self.cache),
            done.export_is_done(self.run, self.model),
            done.eval_is_done(self.replies, self.model, ["pope"], self.benchmarks, "clean"),
        ]


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Made:
    made = Made(tmp_path_factory.mktemp("made"))
    write_instructions(made.data, num_samples=8)
    write_benchmarks(made.benchmarks, num_count=2, num_relation=2, num_pairs=1, num_pope_images=1)
    request = CacheRequest(
        vfm="micro", data=made.data / ANNOTATIONS, images=made.data / IMAGES, out=made.cache, workers=0
    )
    build_cache(request)
    train(made.config, cache=made.cache, output=made.run)
    export_run(made.run, made.model)
    evaluate(str(made.model), ["pope"], made.benchmarks, made.replies, profile="clean")
    return made


@pytest.fixture
def made(original: Made):
    """The chain in its place, and afterwards as it was: paths are recorded, so it cannot be copied elsewhere."""
    root = original.run.parent
    spare = root.with_name("spare")
    shutil.copytree(root, spare)
    yield original
    shutil.rmtree(root)
    spare.rename(root)


def test_a_finished_chain_is_done_and_an_absent_one_is_not(original, tmp_path):
    assert original.states == [True] * 4
    assert Made(tmp_path).states == [False] * 4


def test_a_cache_without_a_shard_or_with_a_short_one_is_not_done(made):
    shard = made.cache / load_plan(made.cache).spec.shard_file(0)
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    assert not done.cache_is_done(made.cache, **MICRO)
    shard.unlink()
    assert not done.cache_is_done(made.cache, **MICRO)
    shard.write_bytes(whole)
    assert done.cache_is_done(made.cache, **MICRO)
    (made.cache / MANIFEST).unlink()
    assert not done.cache_is_done(made.cache, **MICRO)


@pytest.mark.parametrize("other", [{"codec": "fp16"}, {"profile": "release"}, {"vfm": "dinov2"}])
def test_a_cache_of_something_else_is_not_done(original, other):
    assert not done.cache_is_done(original.cache, **(MICRO | other))


def test_a_run_is_done_at_its_last_step_only(made):
    (made.run / "checkpoints/LATEST").write_text("step-000001")
    assert made.states[1] is False
    assert made.states[2] is False  # the export is of another checkpoint


def test_a_damaged_checkpoint_is_not_done(made):
    adapter = made.run / "checkpoints/step-000002/adapter/adapter_model.safetensors"
    adapter.write_bytes(adapter.read_bytes()[:-1])
    assert made.states[1] is False


def test_a_run_with_other_settings_is_not_done(original):
    other = with_overrides(original.config, {"align.layer": 2})
    assert not done.run_is_done(original.run, other, original.cache)
    housekeeping = with_overrides(original.config, {"save_every": 7, "keep_last": 2})
    assert done.run_is_done(original.run, housekeeping, original.cache)


def test_a_run_against_another_cache_is_not_done_but_its_cache_may_go(made):
    inputs = json.loads((made.run / "inputs.json").read_text())
    inputs["cache"]["manifest"] = "0" * 64
    (made.run / "inputs.json").write_text(json.dumps(inputs))
    assert made.states[1] is False
    shutil.rmtree(made.cache)
    assert made.states[1] is True


def test_a_short_export_is_not_done(made):
    weights = made.model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert made.states[2:] == [False, False]


def test_an_evaluation_counts_for_its_model_replies_and_scores(made):
    replies, scores = made.replies / "pope/replies.jsonl", made.replies / "scores.json"
    lines, stored = replies.read_text(), scores.read_text()
    replies.write_text("".join(lines.splitlines(keepends=True)[:-1]))
    assert made.states[3] is False
    replies.write_text(lines)
    assert made.states[3] is True
    scores.write_text(stored.replace('"scored": 18', '"scored": 17'))
    assert made.states[3] is False
    scores.unlink()
    assert made.states[3] is False
    assert not done.eval_is_done(made.replies, made.model, ["cvbench"], made.benchmarks, "clean")
    scores.write_text(stored)
    assert not done.eval_is_done(made.replies, made.model, ["pope"], made.benchmarks, "paper")
    assert not done.eval_is_done(made.replies, made.run, ["pope"], made.benchmarks, "clean")


def test_an_analysis_counts_with_all_its_figures_and_these_models(original, tmp_path):
    weights = json.loads((original.replies / "pope/settings.json").read_text())["weights"]
    models = {"one": original.model}
    found = {"models": {"one": {"weights": weights}}, "figures": [{"file": "pca_0.svg"}]}
    (tmp_path / "pca.json").write_text(json.dumps(found))
    assert not done.analysis_is_done(tmp_path, "pca", models)
    (tmp_path / "pca_0.svg").write_text("<svg/>")
    assert done.analysis_is_done(tmp_path, "pca", models)
    assert not done.analysis_is_done(tmp_path, "pca", {"two": original.model})
    (tmp_path / "pca_0.svg").write_text("")
    assert not done.analysis_is_done(tmp_path, "pca", models)
