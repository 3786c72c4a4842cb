"""The ranks of one run: they meet, agree on small things, and fall together.

Started by torchrun, the deepspeed launcher, Slurm or a shell; all that counts is `RANK`, `WORLD_SIZE`, `MASTER_ADDR`,
`MASTER_PORT` and, where a process sees several GPUs, `LOCAL_RANK`.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from pipelines.engines.world import World, read_world
from pipelines.training.backends import resolve_backend
from pipelines.training.config import TrainConfig
from pipelines.training.watch import Watch
from viral.device import pick_device
from viral.errors import ConfigError, one_line

MEETING = timedelta(minutes=10)
"""How long the first rank waits for the last: nodes of a cluster start minutes apart."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those of its run."""

    rank: int
    size: int
    device: torch.device
    watch: Watch | None = None
    """None: alone."""

    @property
    def main(self) -> bool:
        """Whether this rank writes files and bars."""
        return self.rank == 0

    def gather(self, values: Sequence[float]) -> torch.Tensor:
        """The same few numbers of every rank, float64 [ranks, values]."""
        mine = torch.tensor(values, dtype=torch.float64)
        if self.size == 1:
            return mine[None]
        rows = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(rows, mine)  # on the CPU, over gloo: it must not wait for a GPU's queue
        return torch.stack(rows)

    def any(self, flag: bool) -> bool:
        """Whether it is so on any rank."""
        return bool(self.gather([flag]).any())

    def barrier(self) -> None:
        """Wait until every rank is here."""
        self.gather([0.0])


def alone(device: str) -> Ranks:
    """The only process of a run."""
    return Ranks(0, 1, pick_device(device))


@contextmanager
def join_ranks(config: TrainConfig) -> Iterator[Ranks]:
    """Meet the other ranks, and tell them if this one fails while the block runs.

    Raises:
        ConfigError: the environment does not say where to meet, the port is taken, or no such GPU.
        RankError: another rank failed; the message says which and why.
    """
    world = read_world()
    device = _device(config.device, world)
    if resolve_backend(config.backend, world.size) == "single":
        yield Ranks(0, 1, device)
        return
    store = _meet(world)
    with Watch(world.rank, world.size, store) as watch:
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
            store=dist.PrefixStore("group", store),
            rank=world.rank,
            world_size=world.size,
        )
        if world.rank > 0:
            for package in ("pipelines", "stores", "viral"):
                logging.getLogger(package).setLevel(logging.ERROR)
        try:
            yield Ranks(world.rank, world.size, device, watch)
        except BaseException:
            if world.size == 1:  # with a lost rank, an orderly end could wait for it
                dist.destroy_process_group()
            raise
    dist.destroy_process_group()


def _meet(world: World) -> dist.Store:
    if world.size == 1:
        return dist.HashStore()
    if missing := [name for name in ("MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]:
        raise ConfigError(
            f"WORLD_SIZE={world.size} without {' and '.join(missing)}: use torchrun, or say where rank 0 listens."
        )
    try:
        store, _, _ = next(rendezvous("env://", world.rank, world.size, timeout=MEETING))
    except dist.DistNetworkError as error:
        address, port = os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]
        if "EADDRINUSE" in str(error):
            raise ConfigError(
                f"MASTER_PORT={port} is in use on this machine; set it to a free one."
            ) from error
        raise ConfigError(
            f"Rank {world.rank} found no rank 0 at {address}:{port}: {one_line(error)}."
        ) from error
    return store


def _device(name: str, world: World) -> torch.device:
    device = pick_device(name)
    if device.type != "cuda" or world.size == 1 or torch.cuda.device_count() == 1:
        return device
    if device.index is not None or world.local_rank is None:
        raise ConfigError(
            f"{world.size} ranks need a GPU each: set device=cuda and LOCAL_RANK, or show each process only its own."
        )
    return pick_device(f"cuda:{world.local_rank}")
