"""`viral reproduce table1` on the micro-world: from nothing to the table and the report, killed on the way."""

import fcntl
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.training.folder import LOCK
from viral.benchmarks import BENCHMARKS

VIRAL = Path(sys.executable).with_name("viral")


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_table_1_survives_a_kill_and_ends_with_the_full_table(tmp_path):
    command = [str(VIRAL), "reproduce", "table1", "--root", str(tmp_path / "root")]
    checkpoints = tmp_path / "root/runs/micro-viral/checkpoints"
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while not list(checkpoints.glob("step-*")):
        assert first.poll() is None, "it ended before the second training"
        time.sleep(1)
    first.send_signal(signal.SIGKILL)
    first.wait()
    with (checkpoints.parent / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # its command saves, and ends
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr
    assert "[2/8] train micro-baseline: done" in second.stdout
    assert "--resume" in second.stdout
    results = tmp_path / "root/results"
    table = json.loads((results / "table1-clean.json").read_text())
    assert [line["runs"] for line in table["lines"]] == [["micro-baseline"], ["micro-viral"]]
    for line in table["lines"]:
        assert len(line["cells"]) == len(BENCHMARKS) == 6
        assert all(cell["paper"] is not None and cell["ours"] is not None for cell in line["cells"])
    assert all(cell["verdict"] in ("significant", "within noise") for cell in table["lines"][1]["cells"])
    for name in ("table1-clean.md", "table1-clean.html", "table1-clean-report.html"):
        assert (results / name).stat().st_size > 1000
    third = subprocess.run(command, capture_output=True, text=True, check=True)
    assert third.stdout.count(": done") == 8
