"""One builder per store: an advisory lock that the kernel releases however the builder dies."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stores.errors import LockedStoreError, PlanError
from stores.layout import FORMAT, GROUP, LOGS, PLAN, is_our_name
from stores.publish import make_folder, remove_partials

_held: set[int] = set()


@contextmanager
def build_lock(root: Path) -> Iterator[None]:
    """Hold the exclusive right to write the store at `root`, new or unfinished; clears dead writers' files.

    Raises:
        PlanError: `root` holds something that is not a store.
        LockedStoreError: another process is building it.
    """
    _require_ours(root)
    make_folder(root / LOGS)
    path = root / LOGS / "lock"
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


def _require_ours(root: Path) -> None:
    if root.exists() and not root.is_dir():
        raise PlanError(f"{root} is a file; choose a new folder with --out.")
    if not root.exists() or (root / PLAN).exists():
        return
    foreign = sorted(path.name for path in root.iterdir() if not is_our_name(path.name))
    if foreign or not _is_our_group(root / GROUP):
        raise PlanError(
            f"{root} is not empty and no feature store (it holds {', '.join(foreign[:3]) or 'a Zarr group'}); "
            "choose an empty or new folder with --out."
        )


def _is_our_group(path: Path) -> bool:
    """Whether a Zarr group's metadata carries our mark; True if there is none yet."""
    try:
        return bool(json.loads(path.read_bytes())["attributes"]["format"] == FORMAT)
    except FileNotFoundError:
        return True
    except (ValueError, KeyError, TypeError):
        return False
