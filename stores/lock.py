"""Builders of one store: each shard has one owner, and the whole store has one while it is created or finished.

A claim is a symbolic link `logs/claims/<what>.<generation>` to its owner's file: made in one exclusive step on every
file system, network ones included. A dead owner's claim is taken over by making the link of the next generation, which
only one process can. Whoever is replaced though it lives (suspended for minutes) notices before it publishes anything:
see `Builder.fenced`.
"""

import errno
import logging
import os
import platform
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

from stores import owners
from stores.errors import DiskFullError, LockedStoreError, PlanError, ReadOnlyStoreError
from stores.layout import CLAIMS, FOLDERS, HASHES, LOCK, LOGS, is_temporary
from stores.mark import is_store
from stores.owners import Owner, Watch
from stores.publish import fenced, remove_partials, write_json

log = logging.getLogger(__name__)

STORE = "store"
"""The claim on everything that is no shard."""
POLL_SECONDS = 0.2


class Builder:
    """This process among the builders of a store: its heartbeat and its claims. Made by `join_build`."""

    def __init__(self, root: Path, owner: Owner) -> None:
        self._root, self._owner = root, owner
        self._folder = root / CLAIMS
        self._file = self._folder / f"{owner.name}.json"
        self._watch = Watch(self._folder)
        self._held: dict[str, int] = {}

    def claim(self, what: str) -> bool:
        """Whether `what` is ours now: it was free, or its owner is dead. Never waits.

        Raises:
            LockedStoreError: this process has been replaced.
        """
        generation, owner = self._holder(what)
        if owner and not self._watch.is_dead(owner):
            return owner.name == self._owner.name
        self._require_membership()
        with naming_obstacles(self._root):
            try:
                (self._folder / f"{what}.{generation + 1}").symlink_to(self._file.name)
            except FileExistsError:  # another process was faster
                return False
        self._held[what] = generation + 1
        return True

    def release(self, what: str) -> None:
        """Give a claim up, finished or not."""
        generation = self._held.pop(what, -1)
        for earlier in range(generation + 1):
            (self._folder / f"{what}.{earlier}").unlink(missing_ok=True)

    def announce(self, work: str) -> None:
        """Tell the others what this process builds."""
        self._owner = replace(self._owner, work=work)
        write_json(self._file, self._owner.to_json())

    def holder(self, what: str) -> Owner | None:
        """Who has claimed `what`, dead or alive."""
        return self._holder(what)[1]

    def others(self) -> list[Owner]:
        """The other builders that may be alive."""
        found = (Owner.read(path) for path in sorted(self._folder.glob("*.json")) if path != self._file)
        return [owner for owner in found if owner and not self._watch.is_dead(owner)]

    @contextmanager
    def fenced(self, what: str) -> Iterator[None]:
        """Publish nothing inside the block once another process has taken `what` over.

        The check comes after a file is written under its private name and before its rename. Whoever takes over
        removes the private names first (`remove_partials`), so that a rename after the check fails as well.

        Raises:
            LockedStoreError: `what` is another's now.
        """

        def require_claim() -> None:
            self._require_membership()
            if self._holder(what)[0] != self._held.get(what):
                raise self._replaced()

        with fenced(require_claim):
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the right to create and finish the store; waits for the process that has it.

        Raises:
            LockedStoreError: this process has been replaced.
        """
        told = None
        while not self.claim(STORE):
            owner = self.holder(STORE)
            if owner and owner != told:
                log.info("%s is in the hands of %s; waiting for it.", self._root, owner)
                told = owner
            time.sleep(POLL_SECONDS)
        try:
            if not self.others():
                self._sweep()
            with self.fenced(STORE):
                yield
        finally:
            self.release(STORE)

    def require_no_other(self) -> None:
        """Make sure that nobody else builds; an owner on another machine is given the time to show that it lives.

        Raises:
            LockedStoreError: somebody does; says who.
        """
        while others := self.others():
            if alive := [owner for owner in others if self._watch.is_surely_alive(owner)]:
                raise LockedStoreError(
                    f"{self._root} is being built by {alive[0]}; wait for it, stop it, or choose another --out."
                )
            time.sleep(POLL_SECONDS)
        self._sweep()

    def keep_beating(self, left: threading.Event) -> None:
        """Change the heartbeat until `left` is set."""
        while not left.wait(owners.BEAT_SECONDS):
            with suppress(OSError):  # a moment without the file system; or we were replaced and will notice
                os.utime(self._file)

    def leave(self) -> None:
        """Take back every claim and the owner's file."""
        for what in list(self._held):
            self.release(what)
        self._file.unlink(missing_ok=True)

    def _holder(self, what: str) -> tuple[int, Owner | None]:
        """Highest generation of a claim, -1 if there is none, and its owner, None if that has left."""
        generations = {
            int(path.suffix[1:]): path
            for path in self._folder.glob(f"{what}.*")
            if path.suffix[1:].isdecimal()
        }
        if not generations:
            return -1, None
        latest = max(generations)
        return latest, self._owner_of(generations[latest])

    def _owner_of(self, claim: Path) -> Owner | None:
        try:
            return Owner.read(self._folder / claim.readlink())
        except OSError:  # released this moment, or no link: not a claim of ours
            return None

    def _require_membership(self) -> None:
        # Opened, not asked for its status: network file systems answer that from memory.
        if Owner.read(self._file) is None:
            raise self._replaced()

    def _replaced(self) -> LockedStoreError:
        return LockedStoreError(
            f"Another process has taken over work on {self._root} from this one, taken for dead (suspended?); "
            "run the same command again, it resumes."
        )

    def _sweep(self) -> None:
        """Remove what dead builders left; nobody else may be building, but a newcomer may just be writing its file."""
        remove_partials(self._root)
        for path in self._folder.iterdir():
            is_claim = path.suffix[1:].isdecimal()
            if is_claim or path.suffix == ".json":
                owner = self._owner_of(path) if is_claim else Owner.read(path)
                if owner is None or self._watch.is_dead(owner):
                    path.unlink(missing_ok=True)


@contextmanager
def join_build(root: Path, *, rank: int | None = None, name: str | None = None) -> Iterator[Builder]:
    """Become one of the builders of the store at `root`, new or unfinished, until the block ends.

    Args:
        root: folder of the store.
        rank: for messages.
        name: unique name, for whoever may have to call `evict`; chosen here if None.

    Raises:
        PlanError: `root` holds something that is not a store.
        ReadOnlyStoreError, DiskFullError: it cannot be written.
    """
    require_ours(root)
    is_new, left = not root.exists(), threading.Event()
    name = name or f"{platform.node()}-{os.getpid()}-{secrets.token_hex(4)}"
    builder = Builder(root, Owner.here(name, rank))
    with naming_obstacles(root):
        try:
            builder.announce("")
        except FileNotFoundError:  # a builder that failed has just taken its empty folder away
            builder.announce("")
    threading.Thread(target=builder.keep_beating, args=(left,), daemon=True, name="heartbeat").start()
    try:
        yield builder
    finally:
        left.set()
        builder.leave()
        if is_new and not is_store(root):
            with suppress(OSError):  # not empty: another builder is at work
                for folder in (root / CLAIMS, root / LOGS, root):
                    folder.rmdir()


@contextmanager
def build_lock(root: Path) -> Iterator[Builder]:
    """Hold the exclusive right to write the store at `root`, new or unfinished; clears dead builders' files.

    Raises:
        PlanError: `root` holds something that is not a store.
        LockedStoreError: another process is building it.
        ReadOnlyStoreError, DiskFullError: it cannot be written.
    """
    with join_build(root) as builder:
        builder.require_no_other()
        with builder.alone():
            builder.require_no_other()  # whoever joined meanwhile will wait for us
            yield builder


def evict(root: Path, name: str) -> None:
    """Declare a builder dead that is known to be: others take its claims over at once, and it can publish no more."""
    (root / CLAIMS / f"{name}.json").unlink(missing_ok=True)


@contextmanager
def naming_obstacles(root: Path) -> Iterator[None]:
    """Say in one line what stands in the way of writing below `root`.

    Raises:
        ReadOnlyStoreError, DiskFullError: instead of the system's errors.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise ReadOnlyStoreError(
                f"{root} cannot be written ({error.strerror}); give write permission, or choose another --out."
            ) from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"The disk of {root} is full. Make room and run the same command again; it resumes."
            ) from error
        raise


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
        if path.is_dir():
            ours = name in (LOGS, CLAIMS, *FOLDERS)
        else:
            ours = name in (LOCK, HASHES) or name.startswith(f"{CLAIMS}/") or is_temporary(name)
        if not ours:
            yield name
