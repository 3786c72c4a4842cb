"""What a running build tells: progress bars, the busy time of its stages, and a log."""

import json
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from tqdm import tqdm

STAGES = ("decode", "encode", "write")


def bar(total: int, label: str, show: bool, initial: int = 0, unit: str = "img") -> "tqdm[NoReturn]":
    """A bar on stderr; silent when `show` is false or nobody looks (no terminal)."""
    silent = None if show else True
    return tqdm(total=total, initial=initial, desc=label, unit=unit, disable=silent, dynamic_ncols=True)


class Meter:
    """Counts images and the seconds each stage was busy; the busiest stage sets the pace."""

    def __init__(self, num_images: int, record_bytes: int, *, show: bool, initial: int = 0) -> None:
        self.busy = dict.fromkeys(STAGES, 0.0)
        self.seconds = 0.0
        self._start = time.perf_counter()
        self._done = 0
        self._record_bytes = record_bytes
        # `initial` images were made by an earlier run: they fill the bar, and do not count in its pace.
        self._bar = bar(num_images, "build", show, initial)

    def __enter__(self) -> "Meter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.perf_counter() - self._start
        self._bar.close()

    def add(self, stage: str, seconds: float) -> None:
        """Count busy time of one stage."""
        self.busy[stage] += seconds

    def advance(self, num_images: int) -> None:
        """Count encoded images and refresh the bar."""
        self._done += num_images
        rate = self._done * self._record_bytes / (time.perf_counter() - self._start)
        self._bar.set_postfix_str(f"{rate / 1e6:.1f} MB/s, slowest: {self.slowest}", refresh=False)
        self._bar.update(num_images)

    def skip(self, num_images: int) -> None:
        """Fill the bar by images that another process has built."""
        self._bar.update(num_images)

    @property
    def slowest(self) -> str:
        """The stage that was busy longest."""
        return max(self.busy, key=lambda stage: self.busy[stage])


class BuildLog:
    """JSON lines beside the store. A log that cannot be written (full disk) is no reason to stop a build."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, event: str, **values: object) -> None:
        """Append one event with the time of day in UTC."""
        line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "event": event, **values}
        with suppress(OSError), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, default=str) + "\n")
