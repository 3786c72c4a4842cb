"""Ranks of `viral train` as real processes, forked from a server that has imported everything once."""

import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import deepspeed  # noqa: F401 - imported in the server, for its ranks
import torch

import pipelines.training.loop  # noqa: F401
from cli.main import main
from pipelines.training.config import TrainConfig, write_config


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@dataclass(frozen=True)
class Launch:
    """A started run."""

    processes: list[BaseProcess]
    logs: list[Path]

    def wait(self, timeout: float = 250) -> list[int | None]:
        """Exit codes, None for a rank that did not end in time (and is killed)."""
        deadline = time.monotonic() + timeout
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))
        codes = [process.exitcode for process in self.processes]
        for process in self.processes:
            process.kill()
        return codes

    def succeed(self) -> None:
        codes = self.wait()
        assert codes == [0] * len(codes), (codes, *(text[-3000:] for text in self.said()))

    def said(self) -> list[str]:
        """What each rank wrote."""
        return [log.read_text() for log in self.logs]


def launch(
    config: TrainConfig,
    cache: Path | None,
    output: Path,
    *,
    size: int = 2,
    resume: bool = False,
    environment: dict[str, str] | None = None,
    prepare: Callable[[int], None] | None = None,
    vision_cache: Path | None = None,
) -> Launch:
    """Start `size` ranks; `prepare(rank)` runs first in each."""
    output.parent.mkdir(parents=True, exist_ok=True)
    settings = output.with_suffix(".yaml")
    settings.write_text(write_config(config))
    arguments = ["viral", "train", "--config", str(settings), "--output", str(output)]
    arguments += ["--cache", str(cache)] if cache else []
    arguments += ["--vision-cache", str(vision_cache)] if vision_cache else []
    arguments += ["--resume"] if resume else []
    shared = {
        "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), **(environment or {})
    }  # fmt: skip
    logs = [output.with_name(f"{output.name}-{time.monotonic_ns()}-{rank}.log") for rank in range(size)]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    processes: list[BaseProcess] = []
    for rank, log in enumerate(logs):
        process = context.Process(target=_rank, args=(arguments, shared | {"RANK": str(rank)}, log, prepare))
        process.start()
        processes.append(process)
    return Launch(processes, logs)


def _rank(
    arguments: list[str], environment: dict[str, str], log: Path, prepare: Callable[[int], None] | None
) -> None:
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(environment)
    torch.set_num_threads(1)
    sys.argv = arguments
    if prepare:
        prepare(int(environment["RANK"]))
    main()


def wait_for_steps(output: Path, count: int, started: Launch) -> None:
    """Return once `count` steps are in the metrics."""
    metrics = output / "metrics.jsonl"
    while not metrics.exists() or metrics.read_text().count("\n") < count:
        assert any(process.is_alive() for process in started.processes), started.said()
        time.sleep(0.005)
