"""What every data loader of ours needs: workers that leave signals to the main process, and that fit their memory."""

import shutil
import signal
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where torch hands tensors over, not a file of ours
PREFETCH = 2
"""Batches that each worker keeps ready."""


def leave_signals_to_parent(worker_id: int) -> None:
    """A `worker_init_fn`: Ctrl-C and SIGTERM reach the whole process group; the main process decides what they mean."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def fits_shared_memory(batch_bytes: int, workers: int) -> bool:
    """Whether tensors can be handed over in shared memory. Containers often have 64 MB; a worker dies beyond it."""
    if not SHARED_MEMORY.is_dir():
        return True
    return shutil.disk_usage(SHARED_MEMORY).free > 2 * batch_bytes * workers * PREFETCH
