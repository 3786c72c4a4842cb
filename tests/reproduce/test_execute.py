"""Steps as commands: what runs, what is passed over, what a failure says. The commands are real."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.reproduce.execute import StepError, run_steps, run_viral
from pipelines.reproduce.steps import Step


def step(name: str, *words: str, done: bool = False, output: Path = Path("nowhere")) -> Step:
    return Step(name=name, words=words, output=output, is_done=lambda: done)


def test_what_is_done_is_passed_over_and_the_first_failure_ends_it(capfd):
    said: list[str] = []
    steps = [
        step("first", "no-such-command", done=True),
        step("second", "cache", "info", "nowhere"),
        step("third"),
    ]
    with pytest.raises(StepError, match=r"second failed with exit code 2; .* remove nowhere"):
        run_steps(steps, (), said.append)
    assert said == ["[1/3] first: done", "[2/3] second: viral cache info nowhere"]
    assert capfd.readouterr().err.startswith("error: nowhere does not exist")


def test_a_command_that_ends_well_without_its_result_is_an_error(capfd):
    with pytest.raises(StepError, match="ended without an error, yet nowhere is not what it should be"):
        run_steps([step("list", "teachers")], (), print)
    assert "dinov2" in capfd.readouterr().out


def test_a_launcher_goes_in_front_of_the_command(capfd):
    assert run_viral(["cache", "info", "nowhere"], ["env", "HF_HUB_OFFLINE=1"]) == 2
    with pytest.raises(StepError, match="No program 'no-such-launcher'"):
        run_viral(["teachers"], ["no-such-launcher"])


def test_a_command_ends_with_the_process_that_started_it(tmp_path):
    """A parent that is killed leaves nobody behind who writes into its folders."""
    alive = tmp_path / "alive"
    write = f"pathlib.Path({str(alive)!r}).write_text(str(time.time())); time.sleep(0.05)"
    child = f"import pathlib, time\nwhile True: {write}"
    wrapper = "'-P', '-m', 'pipelines.reproduce.child', str(os.getpid())"
    parent = (
        "import os, subprocess, sys\n"
        f"subprocess.run([sys.executable, {wrapper}, sys.executable, '-c', {child!r}])\n"
    )
    process = subprocess.Popen([sys.executable, "-P", "-c", parent])
    while not alive.exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    deadline = time.time() + 60
    while True:
        seen = alive.read_text()
        time.sleep(1)
        if alive.read_text() == seen:
            break
        assert time.time() < deadline
