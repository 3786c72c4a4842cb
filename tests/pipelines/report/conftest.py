"""One small world, two models evaluated on it, their runs and an analysis."""

from pathlib import Path

import pytest

from tests.pipelines.report.folders import (
    right,
    write_analysis,
    write_evaluation,
    write_run,
    write_world,
    wrong_at,
)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world") / "benchmarks")


@pytest.fixture(scope="session")
def results(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `baseline` (every third reply is unread) and `viral` (every tenth answers Z)."""
    out = tmp_path_factory.mktemp("results")
    write_evaluation(out / "baseline", world, wrong_at(3))
    write_evaluation(out / "viral", world, wrong_at(10, "Z"))
    write_evaluation(out / "perfect", world, right, names=("cvbench",))
    write_run(out / "runs/baseline", "micro_baseline")
    write_run(out / "runs/viral", "micro_viral")
    write_analysis(out / "analysis", "pca")
    return out
