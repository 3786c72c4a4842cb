"""Create a store: Zarr metadata, keys and tables first, `plan.json` last. Safe to interrupt and to repeat."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stores.arrays import read_tables, zarr_metadata
from stores.canonical import seal
from stores.codecs import TABLE_SEED
from stores.errors import DamagedStoreError, FingerprintError, PlanError
from stores.layout import (
    CODES,
    KEYS,
    LOGS,
    PLAN,
    REPORTS,
    is_replaceable,
    report_file,
    store_files,
    whole_array,
)
from stores.parts import base_of
from stores.plan import Plan, load_plan
from stores.publish import make_folder, write_bytes, write_json
from stores.space import reporting_full_disk
from stores.spec import differences

Tables = Mapping[str, npt.NDArray[Any]]


def create_store(root: Path, plan: Plan, tables: Tables | None = None) -> None:
    """Make `root` a store of this plan, with no shard yet; a store of the same plan is left as it is.

    `tables` are the codec's, if codes made with them are to be copied. A part has those of the store it belongs
    to; other stores make their own.

    Call it while holding `build_lock(root)`, which has made sure that the folder is ours to write.

    Raises:
        FingerprintError: `root` is a store of another teacher, codec, grid ...; names the fields.
        PlanError: `root` is a store of other images.
        DiskFullError: no room; run again to resume.
    """
    exists = (root / PLAN).is_file()
    if exists:
        _require_same(root, load_plan(root), plan)
    else:
        _remove_leftovers(root, plan)
    with reporting_full_disk(root, plan):
        for folder in (CODES, REPORTS, LOGS):
            make_folder(root / folder)
        for name, content in _contents(root, plan, tables).items():
            if not (exists and (root / name).is_file()):
                write_bytes(root / name, content)
        if not exists:
            write_json(root / PLAN, seal(plan.to_json()))


def keys_array(plan: Plan) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """Keys as stored: uint8 [N, 32]."""
    return np.frombuffer(bytes.fromhex("".join(plan.keys)), np.uint8).reshape(-1, 32)


def _contents(root: Path, plan: Plan, tables: Tables | None) -> dict[str, bytes]:
    arrays = {KEYS: keys_array(plan), **(_tables(root, plan) if tables is None else tables)}
    metadata = zarr_metadata(plan.spec, len(plan.keys), arrays)
    return metadata | {whole_array(name): array.tobytes() for name, array in arrays.items()}


def _tables(root: Path, plan: Plan) -> Tables:
    if (base := base_of(root)) is not None:
        return read_tables(base, plan.codec)
    try:
        # Published whole in an earlier, interrupted call: shards that name these tables stay valid.
        return read_tables(root, plan.codec)
    except DamagedStoreError:
        return plan.codec.make_tables(plan.spec.num_tokens, plan.spec.dim, TABLE_SEED)


def _require_same(root: Path, found: Plan, expected: Plan) -> None:
    found_json, expected_json = found.to_json(), expected.to_json()
    fields = differences(found_json["spec"], expected_json["spec"])
    if fields:
        raise FingerprintError(
            f"{root} is a store of another kind: {'; '.join(fields)}. Choose another --out, or the settings it has."
        )
    for name in ("images", "rejects"):
        if found_json[name] != expected_json[name]:
            advice = "Choose another --out, or add the new ones with `viral cache append`."
            if base_of(root) is not None:
                advice = (
                    f"Repeat the `viral cache append` that was interrupted, or delete {root} to give it up."
                )
            raise PlanError(
                f"{root} was planned for other {name} ({len(found_json[name])} then, {len(expected_json[name])} now); "
                f"the annotations or the image files have changed. {advice}"
            )


def _remove_leftovers(root: Path, plan: Plan) -> None:
    """An interrupted creation, perhaps of another plan, left this: drop what ours will not replace."""
    shards, spec = range(plan.num_shards), plan.spec
    setup = spec.format.setup_files(plan.codec.tables)
    expected = {*setup, *map(spec.shard_file, shards), *map(report_file, shards)}
    for name in store_files(root):
        if is_replaceable(name) and name not in expected:
            (root / name).unlink()
