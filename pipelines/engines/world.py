"""One process among several of the same command, as torchrun, Slurm or a shell tells it through the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from viral.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """Which of how many processes this is. They never talk to each other: the store on the disk is all they share."""

    rank: int = 0
    size: int = 1
    local_rank: int | None = None
    """Among those of this machine; chooses the GPU. None: all see the same devices, or each only its own."""
    local_size: int = 1
    """Processes on this machine, which share its cores."""


def read_world(environment: Mapping[str, str] = os.environ) -> World:
    """`RANK` and `WORLD_SIZE`, `LOCAL_RANK` and `LOCAL_WORLD_SIZE` where there are any; alone if there are none.

    Raises:
        ConfigError: one of the first two is missing, or they are not numbers that go together.
    """
    given = {name: environment[name] for name in ("RANK", "WORLD_SIZE") if environment.get(name)}
    if not given:
        return World()
    if len(given) == 1:
        raise ConfigError(f"{_spell(given)} without its partner: set RANK and WORLD_SIZE, or neither.")
    local = {name: environment[name] for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE") if environment.get(name)}
    try:
        numbers = {name: int(value) for name, value in (given | local).items()}
    except ValueError as error:
        raise ConfigError(f"{_spell(given | local)}: expected whole numbers.") from error
    world = World(
        rank=numbers["RANK"],
        size=numbers["WORLD_SIZE"],
        local_rank=numbers.get("LOCAL_RANK"),
        local_size=numbers.get("LOCAL_WORLD_SIZE", 1),
    )
    if not 0 <= world.rank < world.size or (world.local_rank or 0) < 0 or world.local_size < 1:
        raise ConfigError(f"{_spell(given | local)}: expected 0 <= RANK < WORLD_SIZE.")
    return world


def _spell(values: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items())
