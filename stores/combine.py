"""Several finished stores into one: export to another format, merge. Codes are copied as they are, never decoded."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stores.create import create_store
from stores.errors import FingerprintError, PlanError
from stores.files import LocalFiles
from stores.layout import MANIFEST
from stores.lock import build_lock
from stores.manifest import Manifest, load_manifest
from stores.parts import finished_parts
from stores.plan import Plan, Reject, load_plan
from stores.report import CosineStats, ShardReport, StoredReport, weighted_cosine
from stores.sharded import ShardedStore
from stores.space import check_space
from stores.spec import differences
from stores.write import finish_store, pending_shards, write_shard

DIGITS = 7
"""Of a cosine averaged over shards; float32 holds no more."""

Progress = Callable[[int, int], None]
"""Called with (shards done, shards in all)."""


class Member:
    """A finished store without its parts, as a source of rows."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = ShardedStore(LocalFiles(root), load_manifest(root))
        self.plan = load_plan(root)
        self._cosines: dict[int, CosineStats | None] = {}

    def cosine(self, shard_id: int) -> CosineStats | None:
        """What the report of a shard says."""
        if shard_id not in self._cosines:
            self._cosines[shard_id] = StoredReport.read(self.root, shard_id).report.cosine
        return self._cosines[shard_id]


class Origin(NamedTuple):
    """Where a row is copied from."""

    member: Member
    row: int


def open_members(roots: Sequence[Path]) -> list[Member]:
    """Every store with its parts, in order.

    Raises:
        StoreError: one of them is missing, unfinished or damaged.
        FingerprintError: they hold records of different kinds; names the fields.
    """
    members = [Member(folder) for root in roots for folder in (root, *finished_parts(root))]
    for member in members[1:]:
        _require_same_kind(members[0], member)
    return members


def combine_stores(
    roots: Sequence[Path], out: Path, *, store: str | None = None, progress: Progress | None = None
) -> Manifest:
    """Make `out` a store of all images of `roots`, each once; an interrupted call is resumed by repeating it.

    An image keeps the place where it is first seen, and the first record that there is of it. Shard size, and
    the format unless `store` names one, are those of the first root. The cosines of a shard are those of the
    shards that its records come from: mean weighted by their number, the lowest of the others.

    Raises:
        StoreError: as `open_members`.
        PlanError: `out` is one of `roots`, holds something else, or its disk is too small.
        DamagedStoreError: a record to be copied is not what was written; what has been copied is kept.
    """
    if out.resolve() in (root.resolve() for root in roots):
        raise PlanError(f"{out} is one of the stores to copy; choose a new folder with --out.")
    plan, origins = _union(open_members(roots), store)
    check_space(out, plan)
    with build_lock(out):
        create_store(out, plan, origins[0].member.store.tables)
        pending = pending_shards(out, plan)
        if pending:
            (out / MANIFEST).unlink(missing_ok=True)  # a store that lacks shards is an unfinished one
        for done, shard_id in enumerate(pending, plan.num_shards - len(pending) + 1):
            write_shard(out, plan, shard_id, *_copy_shard(plan, shard_id, origins))
            if progress:
                progress(done, plan.num_shards)
        if not pending and (out / MANIFEST).is_file():
            return load_manifest(out)
        return finish_store(out, plan)


def _require_same_kind(first: Member, other: Member) -> None:
    specs = [
        {
            name: value
            for name, value in asdict(member.plan.spec).items()
            if name not in ("store", "shard_size")
        }
        for member in (other, first)
    ]
    fields = differences(specs[0], specs[1])
    fields += [
        f"{name}: another table"
        for name, table in first.store.tables.items()
        if not fields and not np.array_equal(table, other.store.tables[name])
    ]
    if fields:
        raise FingerprintError(
            f"{other.root} is not of the kind of {first.root}: {'; '.join(fields)}. "
            "Only stores of one teacher, preprocessing, codec and grid can be merged."
        )


def _union(members: list[Member], store: str | None) -> tuple[Plan, list[Origin]]:
    """Every image once, and where its row comes from: the first member that has a record, or else knows it."""
    origins: dict[str, Origin] = {}
    for member in members:
        for row, key in enumerate(member.plan.keys):
            known = origins.get(key)
            if known is None or (key in known.member.store.rejects and key in member.store):
                origins[key] = Origin(member, row)
    first = members[0].plan.spec
    plan = Plan(
        spec=replace(first, store=store or first.store),
        keys=tuple(origins),
        paths=tuple(origin.member.plan.paths[origin.row] for origin in origins.values()),
        rejects=tuple(dict.fromkeys(reject for member in members for reject in member.plan.rejects)),
    )
    return plan, list(origins.values())


def _copy_shard(plan: Plan, shard_id: int, origins: list[Origin]) -> tuple[npt.NDArray[Any], ShardReport]:
    rows = plan.rows(shard_id)
    codes_nTW = np.zeros((len(rows), *plan.spec.record_shape), plan.spec.codes_dtype)
    rejects: list[Reject] = []
    wanted: dict[Member, list[int]] = {}
    shards: Counter[tuple[Member, int]] = Counter()
    for slot, row in enumerate(rows):
        key, (member, source_row) = plan.keys[row], origins[row]
        if key in member.store.rejects:
            rejects.append(Reject(path=plan.paths[row], reason=member.store.rejects[key], key=key))
            continue
        wanted.setdefault(member, []).append(slot)
        shards[member, source_row // member.plan.spec.shard_size] += 1
    for member, slots in wanted.items():
        codes_nTW[slots] = member.store.read_many([plan.keys[rows.start + slot] for slot in slots])
    cosines = [(count, member.cosine(source_shard)) for (member, source_shard), count in shards.items()]
    report = ShardReport(
        shard_id=shard_id,
        num_images=len(rows),
        rejects=tuple(rejects),
        cosine=_rounded(weighted_cosine(cosines)),
    )
    return codes_nTW, report


def _rounded(cosine: CosineStats | None) -> CosineStats | None:
    return cosine and replace(cosine, mean=round(cosine.mean, DIGITS))
