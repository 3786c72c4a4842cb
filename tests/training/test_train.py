"""Training end to end on a tiny real LLaVA: it learns, resumes to the bit, and leaves what it must not touch."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipelines.training.checkpoint import latest_checkpoint
from pipelines.training.config import with_overrides, write_config
from pipelines.training.folder import read_metrics
from pipelines.training.loop import train
from pipelines.training.recorder import Recorder
from pipelines.training.setup import build_run
from stores import open_store
from viral.errors import ConfigError

TIMES = ("step_time", "data_wait", "peak_memory")


def losses(output: Path) -> list[dict]:
    return [{k: v for k, v in line.items() if k not in TIMES} for line in read_metrics(output)]


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    files = [checkpoint / "adapter" / "adapter_model.safetensors", checkpoint / "optimizer.safetensors"]
    files += list(checkpoint.glob("alignment_head.safetensors"))
    return {f"{path.name}:{name}": tensor for path in files for name, tensor in load_file(path).items()}


def assert_same(first: Path, second: Path) -> None:
    a, b = weights(first), weights(second)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def reference(config, world, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("reference") / "run"
    train(config, cache=world["cache"], output=output)
    return output


def test_run_leaves_metrics_and_whole_checkpoints(reference: Path):
    metrics = read_metrics(reference)
    assert [line["step"] for line in metrics] == [1, 2, 3, 4, 5, 6]
    assert all(-1 <= line["align/cosine"] <= 1 for line in metrics if line["align/cosine"] is not None)
    assert metrics[0]["lr"] == 0.0
    kept = sorted(path.name for path in (reference / "checkpoints").iterdir())
    assert kept == ["LATEST", "step-000004", "step-000006"]


def test_same_seed_gives_the_same_run(config, world, reference, tmp_path: Path):
    final = train(config, cache=world["cache"], output=tmp_path / "run")
    assert losses(tmp_path / "run") == losses(reference)
    assert_same(final, latest_checkpoint(reference / "checkpoints"))


def test_workers_do_not_change_the_run(config, world, reference, tmp_path: Path):
    config = with_overrides(config, {"data.num_workers": 2})
    train(config, cache=world["cache"], output=tmp_path / "run")
    assert losses(tmp_path / "run") == losses(reference)


def test_alignment_learns_when_it_is_all_there_is_to_learn(config, world, tmp_path: Path):
    overrides = {"optim.max_steps": 60, "optim.lr": 1e-2, "align.weight": 20.0, "save_every": 60}
    train(with_overrides(config, overrides), cache=world["cache"], output=tmp_path / "run")
    cosines = [m["align/cosine"] for m in read_metrics(tmp_path / "run") if m["align/cosine"] is not None]
    assert sum(cosines[-5:]) / 5 > sum(cosines[:5]) / 5 + 0.1


def test_training_leaves_the_cache_alone(reference, world):
    from stores import verify_store

    assert open_store(world["cache"]).manifest.spec.fingerprint["teacher"] == "dinov2-b"
    assert verify_store(world["cache"]).ok


def test_baseline_needs_no_cache_and_has_no_head(config, tmp_path: Path):
    final = train(with_overrides(config, {"align.objective": "none"}), cache=None, output=tmp_path / "run")
    assert not (final / "alignment_head.safetensors").exists()
    assert {m["align/cosine"] for m in read_metrics(tmp_path / "run")} == {None}


def test_frozen_head_stays_at_its_start(config, world, tmp_path: Path):
    config = with_overrides(config, {"align.train_head": False})
    start = build_run(config, world["cache"]).module.terms.state_dict()
    final = train(config, cache=world["cache"], output=tmp_path / "run")
    trained = load_file(final / "alignment_head.safetensors")
    assert all(torch.equal(trained[name], start[name]) for name in start)


@pytest.mark.parametrize("killed_after", [1, 3, 5])
def test_sigkill_then_resume_is_the_same_run(config, world, reference, tmp_path: Path, killed_after):
    output = tmp_path / "run"
    (tmp_path / "config.yaml").write_text(write_config(config))
    command = [
        Path(sys.executable).with_name("viral"), "train", "--config", tmp_path / "config.yaml",
        "--cache", world["cache"], "--output", output,
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    metrics = output / "metrics.jsonl"
    while not metrics.exists() or metrics.read_text().count("\n") < killed_after:
        assert process.poll() is None or metrics.read_text().count("\n") >= killed_after
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    resumed = train(config, cache=world["cache"], output=output, resume=True)
    assert losses(output) == losses(reference)
    assert_same(resumed, latest_checkpoint(reference / "checkpoints"))


def test_sigterm_saves_the_last_step_and_resumes(config, world, reference, tmp_path: Path):
    output = tmp_path / "run"
    slow = with_overrides(config, {"save_every": 1000})

    def stop_after_third(step: int) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        record = Recorder.record
        patch.setattr(Recorder, "record", lambda self, m: (record(self, m), stop_after_third(m.step)))
        with pytest.raises(KeyboardInterrupt):
            train(slow, cache=world["cache"], output=output)
    assert latest_checkpoint(output / "checkpoints").name == "step-000003"
    resumed = train(slow, cache=world["cache"], output=output, resume=True)
    assert losses(output) == losses(reference)
    assert_same(resumed, latest_checkpoint(reference / "checkpoints"))


def test_sigterm_to_the_whole_group_saves_and_resumes(config, world, reference, tmp_path: Path):
    """As `timeout` and Slurm send it: to the main process and its data-loading workers alike."""
    config = with_overrides(config, {"data.num_workers": 2, "save_every": 1000, "optim.max_steps": 400})
    output = tmp_path / "run"
    (tmp_path / "config.yaml").write_text(write_config(config))
    command = [
        Path(sys.executable).with_name("viral"), "train", "--config", tmp_path / "config.yaml",
        "--cache", world["cache"], "--output", output,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    while not (output / "metrics.jsonl").exists() or not (output / "metrics.jsonl").read_text():
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert "--resume continues" in stderr
    step = json.loads((latest_checkpoint(output / "checkpoints") / "trainer.json").read_text())["step"]
    assert len(read_metrics(output)) == step < 400


def test_release_profile_freezes_the_head_unless_told_otherwise(config):
    assert config.align.resolved().train_head
    release = with_overrides(config, {"align.profile": "release"})
    assert not release.align.resolved().train_head
    assert with_overrides(release, {"align.train_head": True}).align.resolved().train_head


def test_bf16_autocast_and_checkpointing_stay_near_fp32(config, world, reference, tmp_path: Path):
    config = with_overrides(config, {"precision": "bf16", "gradient_checkpointing": True})
    train(config, cache=world["cache"], output=tmp_path / "run")
    for mine, exact in zip(read_metrics(tmp_path / "run"), read_metrics(reference), strict=True):
        assert mine["loss/lm"] == pytest.approx(exact["loss/lm"], rel=0.02)


def test_resume_refuses_other_settings_and_new_runs_refuse_old_folders(
    config, world, reference, tmp_path: Path
):
    with pytest.raises(ConfigError, match=r"align.layer was 2, now 1"):
        train(with_overrides(config, {"align.layer": 1}), cache=world["cache"], output=reference, resume=True)
    with pytest.raises(ConfigError, match="already holds a run"):
        train(config, cache=world["cache"], output=reference)
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ConfigError, match="not empty and holds no run"):
        train(config, cache=world["cache"], output=tmp_path)
    with pytest.raises(ConfigError, match="No run to resume"):
        train(config, cache=world["cache"], output=tmp_path / "new", resume=True)
    assert (tmp_path / "thesis.tex").read_text() == "precious"
