"""One builder per store: an advisory lock that the kernel releases however the builder dies."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from stores.errors import LockedStoreError, PlanError
from stores.layout import FOLDERS, HASHES, LOCK, LOGS, is_temporary
from stores.mark import is_store
from stores.publish import make_folder, remove_partials

_held: set[int] = set()


@contextmanager
def build_lock(root: Path) -> Iterator[None]:
    """Hold the exclusive right to write the store at `root`, new or unfinished; clears dead writers' files.

    Raises:
        PlanError: `root` holds something that is not a store.
        LockedStoreError: another process is building it.
    """
    require_ours(root)
    make_folder(root / LOGS)
    path = root / LOCK
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockedStoreError(
                f"{root} is being built by process {path.read_text() or 'unknown'}; "
                "wait for it, stop it, or choose another --out."
            ) from error
        _held.add(descriptor)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        remove_partials(root)
        yield
    finally:
        _held.discard(descriptor)
        os.close(descriptor)


def _forget_in_child() -> None:
    # The lock belongs to the open file: a forked worker that kept it open would hold it after we are killed.
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_forget_in_child)


def require_ours(root: Path) -> None:
    """Make sure that `root` is a store, or a folder we may make one in.

    Raises:
        PlanError: it holds something else.
    """
    if root.exists() and not root.is_dir():
        raise PlanError(f"{root} is a file; choose a new folder with --out.")
    if is_store(root):
        return
    if foreign := list(islice(_foreign_entries(root), 3)):
        raise PlanError(
            f"{root} is not empty and no feature store (it holds {', '.join(foreign)}); "
            "choose an empty or new folder with --out."
        )


def _foreign_entries(root: Path) -> Iterator[str]:
    """What neither a plan has left nor a creation killed before its first file got its name, and with it our mark."""
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        ours = name in (LOGS, *FOLDERS) if path.is_dir() else name in (LOCK, HASHES) or is_temporary(name)
        if not ours:
            yield name
