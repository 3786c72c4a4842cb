"""What every data loader of ours needs: workers that leave signals to the main process, and that fit their memory."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from viral.errors import DataError

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where torch hands tensors over, not a file of ours
PREFETCH = 2
"""Batches that each worker keeps ready."""


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS; it knows what a container or Slurm allows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def leave_signals_to_parent(worker_id: int) -> None:
    """A `worker_init_fn`: Ctrl-C and SIGTERM reach the whole process group; the main process decides what they mean."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def fits_shared_memory(batch_bytes: int, workers: int) -> bool:
    """Whether tensors can be handed over in shared memory. Containers often have 64 MB; a worker dies beyond it."""
    if not SHARED_MEMORY.is_dir():
        return True
    return shutil.disk_usage(SHARED_MEMORY).free > 2 * batch_bytes * workers * PREFETCH


@contextmanager
def reporting_dead_workers(setting: str) -> Iterator[None]:
    """Explain the death of a loading process; torch raises it wherever the main thread happens to be.

    `setting` names what to lower, such as `--workers`.

    Raises:
        DataError: a loading process was killed while the block ran.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise DataError(
            "A decoding process was killed, usually for want of memory; run the same command again with fewer "
            f"{setting}, it resumes."
        ) from error
