"""Who builds a store, and who of them still lives.

Each builder keeps one small file that says who it is and whose time of change is its heartbeat. No clock is ever
compared with another host's: a builder of this machine is dead when its process is gone; any other when its heartbeat
has not changed for `STALE_SECONDS` of the watcher's own time.
"""

import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path

BEAT_SECONDS = 10.0
STALE_SECONDS = 120.0
"""Longer than network file systems cache a file's time of change (60 s)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """One process that builds a store. The name is unique, and that of its file."""

    name: str
    host: str
    machine: str
    """Equal where process ids mean the same: one boot of one machine, one container."""
    pid: int
    started: str | None
    """When the process started, in the kernel's ticks: process ids are used again."""
    rank: int | None = None
    work: str = ""
    """What it builds, once it knows: a newcomer that builds the same need not plan it again."""

    def __str__(self) -> str:
        rank = "" if self.rank is None else f" (rank {self.rank})"
        return f"process {self.pid} on {self.host}{rank}"

    @classmethod
    def here(cls, name: str, rank: int | None = None) -> "Owner":
        """This process."""
        pid = os.getpid()
        return cls(
            name=name,
            host=platform.node(),
            machine=this_machine(),
            pid=pid,
            started=_start_time(pid),
            rank=rank,
        )

    @classmethod
    def read(cls, path: Path) -> "Owner | None":
        """Owner of a file; None if there is none, or its bytes are not an owner's: it has left, or died unheard."""
        try:
            owner = cls(**json.loads(path.read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            return None
        return owner if owner.name == path.stem else None

    def to_json(self) -> dict[str, object]:
        """JSON value of the owner's file."""
        return asdict(self)

    @property
    def is_near(self) -> bool:
        """Whether its process id means something here."""
        return self.machine == this_machine()

    @property
    def has_died(self) -> bool:
        """Whether its process is certainly gone; never certain for another machine's."""
        if not self.is_near:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # another user's process
            return False
        return _start_time(self.pid) != self.started


class Watch:
    """Remembers when each owner was last heard, under this process's own clock."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._heard: dict[str, tuple[int, float]] = {}
        self._alive: set[str] = set()

    def is_dead(self, owner: Owner) -> bool:
        """Whether `owner` can be replaced. An owner of another machine has to be asked about again and again."""
        try:
            beat = (self._folder / f"{owner.name}.json").stat().st_mtime_ns
        except FileNotFoundError:
            return True
        if owner.has_died:
            return True
        now = time.monotonic()
        last_beat, last_heard = self._heard.setdefault(owner.name, (beat, now))
        if beat != last_beat:
            self._heard[owner.name] = (beat, now)
            self._alive.add(owner.name)
            return False
        return now - last_heard > STALE_SECONDS

    def is_surely_alive(self, owner: Owner) -> bool:
        """Whether `owner` has been seen to live, by its process or by a heartbeat since it was first asked about."""
        return not self.is_dead(owner) and (owner.is_near or owner.name in self._alive)


def this_machine() -> str:
    """Names the table of processes that this one sees."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux
        return platform.node()


def _start_time(pid: int) -> str | None:
    """Field 22 of `/proc/PID/stat`; None where there is no such file, or the process is a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name in front may hold spaces and parentheses
    return None if fields[0] in "ZX" else fields[19]
