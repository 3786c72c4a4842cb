"""The engine `local`: this process, or one per device of this machine.

Several machines need no other engine: the same command, started on each with `RANK` and `WORLD_SIZE`, shares the store.
"""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from pipelines.cache_plan import PlannedCache, read_source
from pipelines.cache_request import CacheRequest
from pipelines.engines.share import Share, build_share
from pipelines.engines.world import World, read_world
from pipelines.interrupt import StopRequest
from stores import load_plan
from viral.errors import DataError

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2
LAST_SECONDS = 10.0
"""For a process that has done its share to end by itself."""


def run(request: CacheRequest, show_progress: bool) -> tuple[PlannedCache, list[Share]]:
    """Build on the devices of this machine.

    A process of several that is killed loses its open shards; the others go on and build them.

    Raises:
        ViralError, StoreError: as `build_share`; the first of several processes to raise stops the others.
        DataError: all processes were killed.
    """
    world = read_world()
    if not request.devices:
        show = show_progress and world.rank == 0
        planned, share = build_share(request, world, show_progress=show)
        return planned, [share]
    source = read_source(request.data, request.images)
    with StopRequest() as stop, _processes(request, world, show_progress) as processes:
        shares = _gather(processes, stop)
    return PlannedCache(plan=load_plan(request.folder), source=source), shares


@contextmanager
def _processes(
    request: CacheRequest, world: World, show_progress: bool
) -> Iterator[dict[Connection, BaseProcess]]:
    """One process per device, by the connection that its outcome will come through. None is left behind."""
    context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    count = len(request.devices)
    processes: dict[Connection, BaseProcess] = {}
    try:
        for index, device in enumerate(request.devices):
            part = World(
                rank=world.rank * count + index,
                size=world.size * count,
                local_size=world.local_size * count,
            )
            ours, theirs = context.Pipe(duplex=False)
            here = replace(request, device=device, devices=())
            process: BaseProcess = context.Process(
                target=_build_there, args=(here, part, show_progress, theirs)
            )
            process.start()
            theirs.close()
            processes[ours] = process
        yield processes
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.join()


def _gather(processes: dict[Connection, BaseProcess], stop: StopRequest) -> list[Share]:
    waiting, shares, told = dict(processes), [], False
    while waiting:
        if stop.requested and not told:
            for process in waiting.values():
                process.terminate()
            told = True
        for ready in wait(list(waiting), POLL_SECONDS):
            assert isinstance(ready, Connection)
            process = waiting.pop(ready)
            try:
                outcome = ready.recv()
            except EOFError:
                process.join()
                log.warning("Process %s was killed (%s).", process.pid, process.exitcode)
                continue
            if isinstance(outcome, Exception):
                raise outcome
            shares.append(outcome)
            process.join(LAST_SECONDS)  # ended on its own, it tidies up
    if not shares and stop.requested:
        raise KeyboardInterrupt  # before anything was planned
    if not shares:
        raise DataError(
            "Every process was killed, usually for want of memory; run the same command again with a smaller "
            "--batch-size or fewer --workers, it resumes."
        )
    return shares


def _build_there(request: CacheRequest, world: World, show_progress: bool, outcome: Connection) -> None:
    """What a process of several does. Its parent decides what a signal means, and takes it along when it dies."""
    os.setpgid(0, 0)  # Ctrl-C goes to the parent alone
    threading.Thread(target=_die_with_parent, daemon=True).start()
    if request.device == "cpu":
        _share_cores(world.local_size)
    try:
        _, share = build_share(request, world, show_progress=show_progress and world.rank == 0)
        outcome.send(share)
    except Exception as error:  # the parent raises it
        outcome.send(error)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _share_cores(num_processes: int) -> None:
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() // num_processes))
