"""Disk space: refuse a build that cannot fit, and say what is missing when a disk fills up anyway."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stores.errors import DiskFullError, PlanError
from stores.layout import PLAN
from stores.plan import Plan

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def free_bytes(path: Path) -> int:
    """Free bytes of the disk that holds `path`, or would hold it."""
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(existing).free


def missing_bytes(root: Path, plan: Plan) -> int:
    """Bytes of the plan's store that are not on the disk yet."""
    shards = (shard for shard in range(plan.num_shards) if not (root / plan.spec.shard_file(shard)).is_file())
    return sum(map(plan.shard_bytes, shards)) + (0 if (root / PLAN).is_file() else plan.setup_bytes)


def check_space(root: Path, plan: Plan) -> None:
    """Make sure that the rest of the plan's store fits on its disk.

    Raises:
        PlanError: it does not; says what is needed and what is free.
    """
    needed, free = missing_bytes(root, plan), free_bytes(root)
    if needed > free:
        raise PlanError(
            f"{root} needs {format_bytes(needed)} more, but only {format_bytes(free)} are free; "
            f"free {format_bytes(needed - free)}, choose another --out, or a smaller --codec."
        )


@contextmanager
def reporting_full_disk(root: Path, plan: Plan) -> Iterator[None]:
    """Turn the system's "no space left" into an error that says how much is missing.

    Raises:
        DiskFullError: a write inside the block met a full disk or quota.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        needed, free = missing_bytes(root, plan), free_bytes(root)
        raise DiskFullError(
            f"The disk of {root} is full: the store needs {format_bytes(needed)} more, "
            f"{format_bytes(free)} are free. Make room and run the same command again; it resumes."
        ) from error


def format_bytes(count: int) -> str:
    """Bytes with a decimal unit, three digits: 309.7 GB is `310 GB`."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB", "PB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.3g} {units[0]}"
