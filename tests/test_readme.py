"""Every command the README shows is tried: the offline walk from end to end, the others up to the data they lack."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PROGRAMS = {"viral": [str(BIN / "viral")], "python": [sys.executable]}


def commands(heading: str) -> list[str]:
    """The indented command lines of one section."""
    section = re.split(r"^## ", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    (text,) = [part for part in section if part.startswith(heading)]
    return [line.strip().split("  #")[0] for line in text.splitlines() if line.startswith("    ")]


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program, *arguments = shlex.split(command)
    arguments = [str(ROOT / word) if word.startswith("examples/") else word for word in arguments]
    return subprocess.run(
        [*PROGRAMS[program], *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=280
    )


@pytest.mark.parametrize("command", commands("Two commands"))
def test_make_targets_exist(command):
    dry = subprocess.run(
        [*command.split(), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert dry.returncode == 0, dry.stderr


@pytest.mark.parametrize("command", commands("Train your own"))
def test_commands_for_real_data_say_in_one_line_what_is_missing(command, tmp_path: Path):
    done = run(command, tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "No such option" not in done.stderr


@pytest.mark.timeout(600)
def test_the_offline_walk_runs_as_written(tmp_path: Path):
    for command in commands("Try it on photographs"):
        done = run(command, tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stderr[-2000:]}"
    assert (tmp_path / "photos/cache/rejects.jsonl").read_text().count("\n") >= 3
