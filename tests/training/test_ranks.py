"""Two ranks: they compute what one does, survive what kills them, and fall together."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipelines.training.checkpoint import latest_checkpoint
from pipelines.training.config import TrainConfig, with_overrides, write_config
from pipelines.training.export import export_run
from pipelines.training.loop import train
from tests.training.conftest import turns, write_store
from tests.training.launch import free_port, launch, wait_for_steps
from tests.training.test_train import assert_same, losses, weights

ZERO = {stage: {"backend": "deepspeed", "zero_stage": stage} for stage in (0, 2, 3)}
BACKENDS = {"ddp": {"backend": "ddp"}} | {f"zero{stage}": settings for stage, settings in ZERO.items()}


@pytest.fixture(scope="module")
def two(config) -> TrainConfig:
    """Two ranks with two micro-batches each."""
    return with_overrides(config, {"data.micro_batch_size": 1, "optim.max_steps": 4})


@pytest.fixture(scope="module")
def alone(two, world, tmp_path_factory) -> Path:
    """The same run in one process."""
    output = tmp_path_factory.mktemp("alone") / "run"
    train(two, cache=world["cache"], output=output)
    return output


def assert_near(output: Path, other: Path) -> None:
    """Across backends and numbers of ranks sums are made in another order: 1e-5 of a loss, 1e-4 in a weight."""
    for mine, theirs in zip(losses(output), losses(other), strict=True):
        assert mine["lr"] == theirs["lr"]
        assert mine["tokens"] == theirs["tokens"]
        for name in ("loss", "loss/lm", "align/cosine"):
            assert mine[name] == (
                None if theirs[name] is None else pytest.approx(theirs[name], rel=1e-5, abs=1e-5)
            )
    a, b = (weights(latest_checkpoint(run / "checkpoints")) for run in (output, other))
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-3, atol=1e-4)


def test_two_ranks_equal_one_though_one_dies_on_the_way(two, world, alone, tmp_path: Path):
    output = tmp_path / "run"
    started = launch(two, world["cache"], output)
    wait_for_steps(output, 3, started)
    started.processes[1].kill()
    assert started.wait(30) == [2, -signal.SIGKILL]
    assert "error: Rank 1 stopped: it died" in started.said()[0]
    assert "Traceback" not in started.said()[0]
    launch(two, world["cache"], output, resume=True).succeed()
    assert_near(output, alone)


def test_a_signal_to_one_rank_saves_and_one_process_continues(two, world, alone, tmp_path: Path):
    two = with_overrides(two, {"save_every": 1000})
    output = tmp_path / "run"
    started = launch(two, world["cache"], output)
    wait_for_steps(output, 1, started)
    os.kill(started.processes[1].pid, signal.SIGTERM)
    assert started.wait() == [130, 130]
    step = json.loads((latest_checkpoint(output / "checkpoints") / "trainer.json").read_text())["step"]
    assert (
        f"stopped after step {step} of 4, which is saved; the same command with --resume" in started.said()[0]
    )
    assert len(losses(output)) == step < 4
    train(two, cache=world["cache"], output=output, resume=True)
    assert_near(output, alone)


def test_a_rank_that_fails_says_why_on_all(config, world, tmp_path: Path):
    """Rank 1 finds the target of its sample damaged, while rank 0 waits for its gradients; nothing is updated."""
    names = [path.name for path in sorted(world["images"].iterdir())]
    poisoned = write_store(tmp_path / "cache", world["images"], names, codec="fp16", poisoned=names)
    config = with_overrides(config, {"data.annotations": str(one_with_and_one_without(tmp_path, names[0]))})
    config = with_overrides(config, {"data.batch_size": 2, "data.micro_batch_size": 1})
    started = launch(config, poisoned, tmp_path / "run")
    assert started.wait() == [2, 2]
    for said in started.said():
        assert "Traceback" not in said
        assert f"Loss is nan at step 1 with samples {names[0]}; nothing was updated" in said
    assert not (tmp_path / "run" / "checkpoints").exists()


def one_with_and_one_without(folder: Path, image: str) -> Path:
    """Each step of two ranks has the image on one of them."""
    entries = [
        {"id": image, "image": image, "conversations": turns("<image>\nHow many?", "3")},
        {"id": "text", "conversations": turns("Is there a cat?", "no")},
    ]
    (folder / "mixed.json").write_text(json.dumps(entries))
    return folder / "mixed.json"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("backend", BACKENDS)
def test_text_beside_an_image_does_not_hang(config, world, tmp_path: Path, backend: str):
    mixed = one_with_and_one_without(tmp_path, "00.png")
    changes = {"data.annotations": str(mixed), "data.batch_size": 2, "data.micro_batch_size": 1}
    config = with_overrides(config, changes | {"optim.max_steps": 2} | BACKENDS[backend])
    launch(config, world["cache"], tmp_path / "run").succeed()
    assert all(line["align/cosine"] is not None for line in losses(tmp_path / "run"))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("backend", ["zero0", "zero2", "zero3"])
def test_deepspeed_equals_one_process(two, world, alone, tmp_path: Path, backend: str):
    """With clipping, bf16 and recomputation switched on afterwards it still runs; a checkpoint exports like any."""
    launch(with_overrides(two, BACKENDS[backend]), world["cache"], tmp_path / "run").succeed()
    assert_near(tmp_path / "run", alone)
    export_run(tmp_path / "run", tmp_path / "model")
    rest = {"precision": "bf16", "gradient_checkpointing": "full", "optim.max_grad_norm": 1.0}
    config = with_overrides(two, BACKENDS[backend] | rest)
    launch(config, world["cache"], tmp_path / "bf16").succeed()
    for mine, exact in zip(losses(tmp_path / "bf16"), losses(alone), strict=True):
        assert mine["loss/lm"] == pytest.approx(exact["loss/lm"], rel=0.02)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("backend", BACKENDS)
def test_sigkill_then_resume_is_the_same_run_to_the_bit(two, world, tmp_path: Path, backend: str):
    """Through torchrun and the installed command; killed after step 3, saved at 2."""
    two = with_overrides(two, BACKENDS[backend])
    assert torchrun(two, world["cache"], tmp_path / "whole").wait(timeout=400) == 0
    output = tmp_path / "run"
    killed = torchrun(two, world["cache"], output)
    while not (output / "metrics.jsonl").exists() or (output / "metrics.jsonl").read_text().count("\n") < 3:
        assert killed.poll() is None
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert torchrun(two, world["cache"], output, "--resume").wait(timeout=400) == 0
    assert losses(output) == losses(tmp_path / "whole")
    assert_same(*(latest_checkpoint(run / "checkpoints") for run in (output, tmp_path / "whole")))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_sigterm_to_the_launcher_loses_nothing(two, world, tmp_path: Path):
    output = tmp_path / "run"
    many = with_overrides(two, {"save_every": 1000, "optim.max_steps": 400})
    started = torchrun(many, world["cache"], output)
    while not (output / "metrics.jsonl").exists() or not (output / "metrics.jsonl").read_text():
        assert started.poll() is None
    started.terminate()
    started.wait(timeout=100)
    step = json.loads((latest_checkpoint(output / "checkpoints") / "trainer.json").read_text())["step"]
    assert len(losses(output)) == step < 400


def torchrun(config: TrainConfig, cache: Path, output: Path, *more: str) -> subprocess.Popen[bytes]:
    """Two ranks of the installed `viral` command."""
    settings = output.with_suffix(".yaml")
    settings.write_text(write_config(config))
    tools = Path(sys.executable).parent
    command = [
        tools / "torchrun", "--nproc-per-node", "2", "--master-port", str(free_port()), "--no-python",
        tools / "viral", "train", "--config", settings, "--cache", cache, "--output", output, *more,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("first", "second"), [("ddp", "zero2"), ("zero2", "zero3"), ("zero3", "ddp")])
def test_resume_on_another_backend(two, world, alone, tmp_path: Path, first: str, second: str):
    output = tmp_path / "run"
    started = launch(with_overrides(two, BACKENDS[first]), world["cache"], output)
    wait_for_steps(output, 3, started)
    for process in started.processes:
        process.kill()
    started.wait()
    other = launch(with_overrides(two, BACKENDS[second]), world["cache"], output, resume=True)
    other.succeed()
    assert_near(output, alone)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_deepspeed_launcher_starts_it_too(two, world, alone, tmp_path: Path):
    (tmp_path / "config.yaml").write_text(write_config(with_overrides(two, BACKENDS["zero2"])))
    tools = Path(sys.executable).parent
    command = [
        tools / "deepspeed", "--num_gpus", "2", "--master_port", str(free_port()), "--no_python", "--no_local_rank",
        tools / "viral", "train", "--config", tmp_path / "config.yaml", "--cache", world["cache"],
        "--output", tmp_path / "run",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done:") == 1
    assert_near(tmp_path / "run", alone)
