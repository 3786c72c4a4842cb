"""Read every byte of a store and compare it with what was written; drop what is damaged, so that a build refills it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from stores.arrays import group_metadata, read_array
from stores.canonical import sha256
from stores.check_shard import shard_problems
from stores.codecs import get_codec
from stores.errors import DamagedStoreError, MissingStoreError, PlanError
from stores.layout import (
    CODES,
    GROUP,
    KEYS,
    MANIFEST,
    PLAN,
    REJECTS,
    array_metadata,
    report_file,
    store_files,
    whole_array,
)
from stores.lock import build_lock
from stores.manifest import Manifest, load_manifest
from stores.mark import is_store
from stores.parts import finished_parts, unfinished_part
from stores.plan import Plan, load_plan, missing_message
from stores.publish import write_bytes
from stores.report import ShardReport, StoredReport
from stores.shard import shard_bytes
from stores.spec import StoreSpec
from stores.write import pending_shards, rejects_bytes, summarise

T = TypeVar("T")

Progress = Callable[[int, int], None]
"""Called with (shards done, shards in all)."""


@dataclass(kw_only=True, slots=True)
class VerifyReport:
    """What `verify_store` found."""

    num_images: int = 0
    num_rejects: int = 0
    num_shards: int = 0
    bytes_read: int = 0
    problems: list[str] = field(default_factory=list)
    """One line each, `file: what is wrong`; empty for a sound store."""
    bad_shards: list[int] = field(default_factory=list)
    bad_files: list[str] = field(default_factory=list)
    """Damaged or missing files of the store, shards excluded."""
    doomed: list[str] = field(default_factory=list)
    """What a repair deletes: bad files, bad shards and their reports."""
    foreign_files: list[str] = field(default_factory=list)
    """Files that are no part of the store; a repair leaves them alone."""
    unfinished_part: str | None = None
    """A part that is being appended, or whose manifest is lost; readers leave it out, and it is not checked."""

    @property
    def ok(self) -> bool:
        """Whether every byte is what was written."""
        return not self.problems

    def blame(self, name: str, what: str) -> None:
        """Note a small file that is not what was written."""
        self.problems.append(f"{name}: {what}")
        if name not in self.bad_files:
            self.bad_files.append(name)
            self.doomed.append(name)

    def blame_shard(self, shard_id: int, name: str, what: list[str]) -> None:
        """Note a shard that is not what was written."""
        self.problems += [f"{name}: {line}" for line in what]
        self.bad_shards.append(shard_id)
        self.doomed += [name, report_file(shard_id)]

    def include(self, part: str, other: "VerifyReport") -> None:
        """Add what was found in a part; its shards are numbered on."""
        self.bad_shards += [self.num_shards + shard_id for shard_id in other.bad_shards]
        for name in ("num_images", "num_rejects", "num_shards", "bytes_read"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("problems", "bad_files", "doomed", "foreign_files"):
            getattr(self, name).extend(f"{part}/{line}" for line in getattr(other, name))


def verify_store(root: Path, progress: Progress | None = None) -> VerifyReport:
    """Check a finished store: hashes, checksums, sizes, counts, keys, empty records, missing and foreign files.

    Its finished parts are checked, too.

    Raises:
        MissingStoreError: no folder, or no store in it.
        IncompleteStoreError: the store has not been finished.
        FormatVersionError: written by a newer version.
    """
    return _with_parts(_verify, root, progress)


def repair_store(root: Path, progress: Progress | None = None) -> VerifyReport:
    """Verify, then delete what is damaged, so that `viral cache build` makes it again and finishes the store.

    Returns what was wrong before. Files that are no part of the store are left alone. What is deleted of a part,
    `viral cache append` makes again.

    Raises:
        MissingStoreError, IncompleteStoreError, FormatVersionError: as `verify_store`.
        LockedStoreError: the store is being built.
    """
    return _with_parts(_repair, root, progress)


def _with_parts(
    check: Callable[[Path, Progress | None], VerifyReport], root: Path, progress: Progress | None
) -> VerifyReport:
    parts = finished_parts(root)
    found = check(root, progress)
    for part in parts:
        found.include(part.relative_to(root).as_posix(), check(part, progress))
    found.unfinished_part = unfinished_part(root)
    return found


def _verify(root: Path, progress: Progress | None) -> VerifyReport:
    _require_store(root)
    found = VerifyReport()
    plan = _load(load_plan, root, PLAN, found)
    manifest = _load(load_manifest, root, MANIFEST, found)
    if manifest:
        _check_hashes(root, manifest, found)
    known = _spec_and_keys(root, plan, manifest, found)
    if known is None:
        return found
    spec, keys = known
    found.num_images, found.num_shards = len(keys), spec.num_shards(len(keys))
    reports = _check_shards(root, spec, keys, found, progress)
    _check_names(root, spec, found)
    if plan and manifest and not found.bad_files:
        _check_counts(root, plan, manifest, reports, found)
    return found


def _repair(root: Path, progress: Progress | None) -> VerifyReport:
    _require_store(root)
    with build_lock(root):
        found = _verify(root, progress)
        doomed = set(found.doomed)
        if MANIFEST in found.bad_files and PLAN not in found.bad_files:
            doomed |= _unvouched(root, load_plan(root))
        if GROUP in doomed:
            # Made again at once: it is the mark by which a build knows the folder for a store.
            write_bytes(root / GROUP, group_metadata())
        if doomed:
            # First, so that a half-repaired store is an unfinished one.
            (root / MANIFEST).unlink(missing_ok=True)
        for name in sorted(doomed - {GROUP}):
            (root / name).unlink(missing_ok=True)
    return found


def _unvouched(root: Path, plan: Plan) -> set[str]:
    """Files that have no seal of their own, when the manifest is lost; the plan is enough to make them again."""
    tables = plan.codec.tables
    names = {GROUP, *map(array_metadata, (CODES, KEYS, *tables))}
    try:
        # The report of a shard names the tables it goes with.
        is_vouched_for = len(pending_shards(root, plan)) < plan.num_shards
    except FileNotFoundError:
        is_vouched_for = False
    return names if is_vouched_for else names | set(map(whole_array, tables))


def _require_store(root: Path) -> None:
    if not is_store(root) or not ((root / PLAN).is_file() or (root / MANIFEST).is_file()):
        raise MissingStoreError(missing_message(root))


def _load(load: Callable[[Path], T], root: Path, name: str, found: VerifyReport) -> T | None:
    try:
        return load(root)
    except (DamagedStoreError, MissingStoreError, PlanError):
        found.blame(name, "missing or not what was written")
        return None


def _check_hashes(root: Path, manifest: Manifest, found: VerifyReport) -> None:
    for name, expected in manifest.files.items():
        path = root / name
        if not path.is_file():
            found.blame(name, "missing")
            continue
        data = path.read_bytes()
        found.bytes_read += len(data)
        if sha256(data) != expected:
            found.blame(name, "its SHA-256 is not the one in the manifest")


def _spec_and_keys(
    root: Path, plan: Plan | None, manifest: Manifest | None, found: VerifyReport
) -> tuple[StoreSpec, Sequence[str]] | None:
    """Spec and keys from the plan, or from the manifest where the plan is damaged; None if both are."""
    try:
        stored = [bytes(key).hex() for key in read_array(root, KEYS)]
    except DamagedStoreError:
        found.blame(whole_array(KEYS), "unreadable")
        stored = []
    if plan:
        if stored != list(plan.keys):
            found.blame(whole_array(KEYS), "not the keys of the plan")
        return plan.spec, plan.keys
    if manifest and whole_array(KEYS) not in found.bad_files:
        return manifest.spec, stored
    found.problems.append("shards: not checked, since nothing intact says which records they hold")
    return None


def _check_shards(
    root: Path, spec: StoreSpec, keys: Sequence[str], found: VerifyReport, progress: Progress | None
) -> list[ShardReport]:
    reports = []
    for shard_id in range(found.num_shards):
        rows, name = spec.rows(len(keys), shard_id), spec.shard_file(shard_id)
        try:
            stored = StoredReport.read(root, shard_id)
        except (FileNotFoundError, DamagedStoreError):
            found.blame(report_file(shard_id), "missing or not what was written")
            found.blame_shard(shard_id, name, ["cannot be checked without its report"])
            continue
        reports.append(stored.report)
        rejected = {reject.key for reject in stored.report.rejects}
        slots = {slot for slot, row in enumerate(rows) if keys[row] in rejected}
        found.num_rejects += len(slots)
        found.bytes_read += shard_bytes(spec, len(rows))
        problems = shard_problems(root / name, spec, keys[rows.start : rows.stop], slots, stored.sha256)
        if stored.report.num_images != len(rows) or len(slots) != len(stored.report.rejects):
            problems.append("its report is about other images")
        if problems:
            found.blame_shard(shard_id, name, problems)
        if progress:
            progress(shard_id + 1, found.num_shards)
    return reports


def _check_names(root: Path, spec: StoreSpec, found: VerifyReport) -> None:
    """Missing files that no manifest has named, and files that do not belong here."""
    known = set(spec.format.small_files(get_codec(spec.codec).tables, found.num_shards))
    present = set(store_files(root))
    for name in sorted(known - present - set(found.bad_files)):
        found.blame(name, "missing")
    for name in sorted(present - known - {MANIFEST, *map(spec.shard_file, range(found.num_shards))}):
        found.foreign_files.append(name)
        found.problems.append(f"{name}: no part of the store; move it away")


def _check_counts(
    root: Path, plan: Plan, manifest: Manifest, reports: list[ShardReport], found: VerifyReport
) -> None:
    """The manifest and the list of rejects against the reports they were made from."""
    if (root / REJECTS).read_bytes() != rejects_bytes(plan, reports):
        found.blame(REJECTS, "not the rejects of the reports")
    if manifest != summarise(root, plan, reports):
        found.blame(MANIFEST, "its counts are not those of the reports")
