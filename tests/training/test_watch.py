"""A rank that waits where no signal reaches it still ends when another one is gone."""

import multiprocessing
import os
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch.distributed as dist

from pipelines.training.watch import RankError, Stopped, Watch
from tests.training.launch import free_port
from viral.errors import DataError


def rank_of(rank: int, size: int, port: int, ends: tuple[str, ...], log: Path) -> None:
    import logging

    logging.basicConfig(filename=log, format="%(message)s")
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    store = dist.TCPStore("127.0.0.1", port, size, is_master=rank == 0)
    try:
        with Watch(rank, size, store) as watch:
            if os.fork() == 0:  # a data worker, which inherits every connection
                time.sleep(3)
                os._exit(0)
            act(ends[rank], watch)
    except RankError as error:
        log.write_text(f"raised {error}")


def act(end: str, watch: Watch) -> None:
    if end == "dies":
        os._exit(9)
    if end == "errs":
        raise DataError("the data is bad")
    if end == "stops":
        raise Stopped("as agreed")
    if end == "broken":
        raise RuntimeError("connection closed by peer")
    if end == "told":
        watch.raise_cause()
    time.sleep({"waits": 60, "ends": 0}[end])


def run(tmp_path: Path, *ends: str) -> tuple[list[int | None], list[str]]:
    context, port = multiprocessing.get_context("forkserver"), free_port()
    context.set_forkserver_preload(["tests.training.launch", "tests.training.test_watch"])
    logs = [tmp_path / str(rank) for rank in range(len(ends))]
    processes: list[BaseProcess] = []
    for rank, log in enumerate(logs):
        process = context.Process(target=rank_of, args=(rank, len(ends), port, ends, log))
        process.start()
        processes.append(process)
    for process in processes:
        process.join(40)
    return [process.exitcode for process in processes], [
        log.read_text() if log.exists() else "" for log in logs
    ]


@pytest.mark.parametrize("ends", [("waits", "dies", "waits"), ("dies", "waits", "waits")])
def test_death_ends_those_that_wait(tmp_path: Path, ends):
    codes, logs = run(tmp_path, *ends)
    dead = ends.index("dies")
    assert codes == [9 if rank == dead else 2 for rank in range(3)]
    assert all(f"Rank {dead} stopped: it died" in log for rank, log in enumerate(logs) if rank != dead)


def test_an_error_reaches_those_that_wait_or_break(tmp_path: Path):
    codes, logs = run(tmp_path, "broken", "errs", "waits", "told")
    assert codes == [0, 1, 2, 0]
    assert logs[0] == logs[3] == "raised Rank 1 stopped: the data is bad"
    assert logs[2].strip() == "error: Rank 1 stopped: the data is bad"


def test_an_agreed_end_disturbs_nobody(tmp_path: Path):
    assert run(tmp_path, "ends", "ends", "ends")[0] == [0, 0, 0]
    codes, logs = run(tmp_path, "stops", "stops")
    assert codes == [1, 1]
    assert logs == ["", ""]
