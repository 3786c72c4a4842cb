"""Analyses of what training leaves behind: checkpoints on a curve, and teachers' caches beside the layers."""

import json
from pathlib import Path

import pytest

from pipelines.analyses.ask import pick_pictures, run
from pipelines.analyses.caches import open_caches
from pipelines.analyses.cknna import CknnaSettings
from pipelines.analyses.curve import CurveSettings
from pipelines.analyses.job import parse_labelled
from pipelines.training.config import with_overrides
from pipelines.training.loop import train
from stores.errors import UnknownKeyError
from tests.benchmarks import worlds
from tests.training.conftest import write_store
from viral.errors import CacheMismatchError


@pytest.fixture(scope="module")
def finished_run(world, config, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "run"
    train(with_overrides(config, {"keep_last": 9}), cache=world["cache"], output=output)
    return output


def test_a_curve_has_a_point_for_each_checkpoint_and_grows(finished_run, tmp_path):
    data = worlds.cvbench(tmp_path / "data")
    settings = CurveSettings(
        benchmarks=("cvbench",),
        data=data,
        profile="paper",
        baselines=parse_labelled([f"base={finished_run}"], ""),
    )
    models = [f"VIRAL={finished_run}", f"base={finished_run}"]
    path = run("curve", models, settings, tmp_path / "out", "paper", None, "cpu", 8)
    found = json.loads(path.read_text())["data"]
    assert [point["step"] for point in found["VIRAL"]] == [2, 4, 6]
    assert found["base"][0]["mean"] == found["VIRAL"][-1]["mean"]
    assert (tmp_path / "out/curve/VIRAL/step-000002/scores.json").is_file()
    first = (tmp_path / "out/curve/VIRAL/step-000002/cvbench/replies.jsonl").stat().st_mtime_ns
    path.unlink()
    run("curve", models, settings, tmp_path / "out", "paper", None, "cpu", 8)
    assert (tmp_path / "out/curve/VIRAL/step-000002/cvbench/replies.jsonl").stat().st_mtime_ns == first


def cknna(
    world, cache: Path, out: Path, *, images: Path | None = None, profile: str = "clean", level="token"
) -> dict:
    settings = CknnaSettings(k=4, level=level, caches=open_caches([f"teacher={cache}"]))
    questions = pick_pictures(images or world["images"], None, None, Path(), profile, 6)
    path = run("cknna", [f"tiny={world['llava']}"], settings, out, profile, questions, "cpu", 2)
    return json.loads(path.read_text())


@pytest.mark.parametrize("level", ["token", "image"])
@pytest.mark.parametrize("grid", [4, 6])
def test_alignment_with_a_cached_teacher(world, tmp_path, level, grid):
    names = sorted(path.name for path in world["images"].iterdir())
    cache = write_store(tmp_path / "cache", world["images"], names, grid=grid)
    found = cknna(world, cache, tmp_path / "out", level=level)
    assert list(found["data"]["references"]) == ["vision tower", "teacher"]
    assert len(found["data"]["references"]["teacher"]["tiny"]["mean"]) == 5
    assert found["settings"]["caches"]["teacher"]["codec"] == "int8"


def test_a_cache_without_the_pictures_or_of_other_squares_is_refused(world, tmp_path):
    other = tmp_path / "other"
    worlds.picture(other / "red.png", (200, 10, 10))
    with pytest.raises(UnknownKeyError):
        cknna(world, world["cache"], tmp_path / "out", images=other)
    with pytest.raises(CacheMismatchError, match="was built with square=pad"):
        cknna(world, world["cache"], tmp_path / "crop", profile="paper")
