"""Export to safetensors: one file per shard that `safetensors.numpy.load_file` reads, and one with the codec's tables.

This is a way out, not a store: nothing here reads the files again.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stores.canonical import canonical_json, sha256
from stores.combine import Member, Progress, open_members
from stores.errors import PlanError
from stores.layout import MANIFEST, PARTIAL
from stores.lock import naming_obstacles
from stores.publish import make_folder, write_bytes

TABLES = "tables.safetensors"
_METADATA = "viral"
"""The header's one entry: several would be written in any order."""
_OURS = re.compile(rf"(\d{{6}}|tables)\.safetensors(\.\d+-[0-9a-f]{{8}}{re.escape(PARTIAL)})?")


def export_safetensors(root: Path, out: Path, progress: Progress | None = None) -> int:
    """Write `NNNNNN.safetensors` with `codes` [n, T, W] and `keys` uint8 [n, 32], and return how many there are.

    Rejected images are left out. Files already written from the same store are kept, so that an interrupted
    call is resumed by repeating it.

    Raises:
        StoreError: `root` is not a finished store, or a record is damaged.
        PlanError: `out` holds something else.
        ReadOnlyStoreError, DiskFullError: it cannot be written.
    """
    _require_ours(out)
    members = open_members([root])
    with naming_obstacles(out):
        make_folder(out)
    sources = {member: sha256((member.root / MANIFEST).read_bytes()) for member in members}
    shards = [(member, shard_id) for member in members for shard_id in range(member.plan.num_shards)]
    if tables := members[0].store.tables:
        about = _about(members[0], sources[members[0]], TABLES)
        if not _is_written(out / TABLES, about):
            _write(out / TABLES, tables, about)
    for number, (member, shard_id) in enumerate(shards):
        path = out / f"{number:06d}.safetensors"
        about = _about(member, sources[member], str(shard_id))
        if not _is_written(path, about):
            rows = member.plan.rows(shard_id)
            keys = [key for key in member.plan.keys[rows.start : rows.stop] if key in member.store]
            digests = np.frombuffer(bytes.fromhex("".join(keys)), np.uint8).reshape(-1, 32)
            _write(path, {"codes": member.store.read_many(keys), "keys": digests}, about)
        if progress:
            progress(number + 1, len(shards))
    return len(shards)


def _about(member: Member, source: str, what: str) -> dict[str, str]:
    manifest = member.store.manifest
    value = {"spec": manifest.to_json()["spec"], "kappa": manifest.kappa, "source": source, "of": what}
    return {_METADATA: canonical_json(value).decode("ascii")}


def _write(path: Path, tensors: Mapping[str, npt.NDArray[Any]], about: dict[str, str]) -> None:
    from safetensors.numpy import save

    content = save(dict(tensors), about)
    with naming_obstacles(path.parent):
        write_bytes(path, content)


def _is_written(path: Path, about: dict[str, str]) -> bool:
    """Whether an earlier call wrote this file from this store.

    Raises:
        PlanError: it comes from another one.
    """
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return False
    try:
        with safe_open(path, "np") as file:
            same = file.metadata() == about
    except SafetensorError:
        same = False
    if not same:
        raise PlanError(f"{path} was not exported from this store; choose another --out.")
    return True


def _require_ours(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise PlanError(f"{out} is a file; choose a new folder with --out.")
    foreign = sorted(path.name for path in out.glob("*") if not _OURS.fullmatch(path.name))
    if foreign:
        raise PlanError(
            f"{out} is not empty (it holds {foreign[0]}); choose an empty or new folder with --out."
        )
