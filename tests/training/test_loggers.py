"""Curves beside metrics.jsonl: what is asked for is written, and a resumed run goes on in its own."""

import json
import logging
import re
import sys
from pathlib import Path

import pytest

from pipelines.training import recorder
from pipelines.training.config import with_overrides
from pipelines.training.folder import read_metrics
from pipelines.training.loggers import LOGGERS, get_loggers
from pipelines.training.loop import train
from viral.errors import ConfigError, UnknownNameError


def run_twice(config, world, output: Path, name: str) -> None:
    """Six steps; the last checkpoint is lost, so 5 and 6 are run again."""
    train(config, cache=world["cache"], output=output, log=[name])
    (output / "checkpoints" / "LATEST").write_text("step-000004")
    train(config, cache=world["cache"], output=output, resume=True, log=[name, name])


def test_tensorboard_has_every_step_once(config, world, tmp_path: Path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run_twice(config, world, tmp_path / "run", "tensorboard")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    written = read_metrics(tmp_path / "run")
    for name in ("loss", "loss/lm", "align/cosine", "tokens"):
        points = {event.step: event.value for event in events.Scalars(name)}
        expected = {line["step"]: line[name] for line in written if line[name] is not None}
        assert len(events.Scalars(name)) == len(points), name
        assert points == pytest.approx(expected, rel=1e-6)


def test_wandb_offline_keeps_one_id(config, world, tmp_path: Path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run_twice(config, world, tmp_path / "run", "wandb")
    parts = sorted((tmp_path / "run" / "wandb").glob("offline-run-*"))
    ids = {re.sub(r".*-", "", part.name) for part in parts}
    assert len(parts) == 2
    assert ids == {(tmp_path / "run" / "wandb-id").read_text()}
    assert all(list(part.glob("*.wandb")) for part in parts)


@pytest.mark.parametrize("name", LOGGERS)
def test_a_missing_package_names_the_extra(config, world, tmp_path: Path, monkeypatch, name: str):
    monkeypatch.setitem(sys.modules, LOGGERS[name].package, None)  # as if there were no such package
    with pytest.raises(ConfigError, match=rf"--log {name} needs .* pip install 'viral\[log\]'"):
        train(config, cache=world["cache"], output=tmp_path / "run", log=[name])
    assert not (tmp_path / "run").exists()


def test_unknown_names_list_the_known():
    with pytest.raises(UnknownNameError, match="Known: tensorboard, wandb"):
        get_loggers(["mlflow"])


def test_lines_where_nobody_sees_a_bar(config, world, tmp_path: Path, monkeypatch, caplog):
    monkeypatch.setattr(recorder, "PERIOD", 0.0)
    config = with_overrides(config, {"optim.max_steps": 2})
    with caplog.at_level(logging.INFO):
        train(config, cache=world["cache"], output=tmp_path / "run")
    lines = [record.message for record in caplog.records if record.message.startswith("step ")]
    assert len(lines) == 2
    shape = r"step 1 of 2: lm \d+\.\d{3},( cosine -?\d\.\d{3},)? tok/s \d+, wait \d+\.\d%, \d+:\d\d:\d\d left"
    assert re.fullmatch(shape, lines[0]), lines[0]
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[1])["step"] == 2
