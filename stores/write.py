"""Write a store: which shards are missing, one shard at a time, and the manifest when all are there."""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy.typing as npt

from stores.canonical import canonical_json, seal, sha256
from stores.errors import DamagedStoreError, IncompleteStoreError, StoreError
from stores.layout import MANIFEST, REJECTS, report_file
from stores.manifest import Manifest
from stores.plan import Plan
from stores.publish import publish, write_bytes, write_json
from stores.report import ShardReport, StoredReport, merge_cosines, store_digest
from stores.shard import shard_buffers, shard_bytes, write_buffers
from stores.space import reporting_full_disk


def pending_shards(root: Path, plan: Plan, among: Iterable[int] | None = None) -> list[int]:
    """Shards of a created store that are still to be written: all of them ascending, or those `among` some."""
    store = store_digest(root, plan)
    shards = range(plan.num_shards) if among is None else among
    return [shard for shard in shards if not _is_done(root, plan, store, shard)]


def write_shard(
    root: Path, plan: Plan, shard_id: int, codes_nTD: npt.NDArray[Any], report: ShardReport
) -> None:
    """Write one shard and then its report; durable when this returns, and threads may write different shards.

    Args:
        root: folder of a created store.
        plan: its plan.
        shard_id: which shard.
        codes_nTD: codes of all its rows, in the codec's dtype; what a rejected row holds is ignored.
        report: which rows were rejected, and how true the codec was.

    Raises:
        ValueError: codes or report do not belong to this shard.
        DiskFullError: no room; nothing half-written is left.
    """
    blank = _rejected_slots(plan, shard_id, codes_nTD, report)
    rows = plan.rows(shard_id)
    buffers = shard_buffers(plan.spec, plan.keys[rows.start : rows.stop], codes_nTD, blank)
    digest = hashlib.sha256()
    for buffer in buffers:
        digest.update(buffer)
    # A report left by an earlier shard of this number must not vouch for the new one.
    (root / report_file(shard_id)).unlink(missing_ok=True)
    with reporting_full_disk(root, plan):
        with publish(root / plan.spec.shard_file(shard_id)) as partial:
            write_buffers(partial, buffers)
        StoredReport(report, digest.hexdigest(), store_digest(root, plan)).write(root)


def finish_store(root: Path, plan: Plan) -> Manifest:
    """List the rejects and publish the manifest, which makes the store readable.

    Raises:
        IncompleteStoreError: a shard is missing.
        StoreError: no image has a record.
    """
    pending = pending_shards(root, plan)
    if pending:
        raise IncompleteStoreError(
            f"{root} lacks {len(pending)} of {plan.num_shards} shards; "
            "run the same `viral cache build` again, it resumes."
        )
    reports = [StoredReport.read(root, shard).report for shard in range(plan.num_shards)]
    with reporting_full_disk(root, plan):
        write_bytes(root / REJECTS, rejects_bytes(plan, reports))
        manifest = summarise(root, plan, reports)
        write_json(root / MANIFEST, seal(manifest.to_json()))
    return manifest


def summarise(root: Path, plan: Plan, reports: list[ShardReport]) -> Manifest:
    """The manifest of a store whose other files are all written.

    Raises:
        StoreError: no image has a record.
    """
    cosine = merge_cosines(reports)
    if cosine is None:
        raise StoreError(
            f"None of {len(plan.keys)} images could be encoded; the reasons are in {root / REJECTS}. "
            f"Delete {root} and give other images."
        )
    names = plan.spec.format.small_files(plan.codec.tables, plan.num_shards)
    return Manifest(
        spec=plan.spec,
        num_images=len(plan.keys),
        num_records=sum(report.num_records for report in reports),
        num_rejects=len(plan.rejects) + sum(len(report.rejects) for report in reports),
        cosine=cosine,
        files={name: sha256((root / name).read_bytes()) for name in names},
    )


def rejects_bytes(plan: Plan, reports: list[ShardReport]) -> bytes:
    """`rejects.jsonl`: images without a file first, then rejected rows in order."""
    rejects = [*plan.rejects, *(reject for report in reports for reject in report.rejects)]
    return b"".join(canonical_json(asdict(reject)) for reject in rejects)


def _is_done(root: Path, plan: Plan, store: str, shard_id: int) -> bool:
    try:
        report = StoredReport.read(root, shard_id)
        size = (root / plan.spec.shard_file(shard_id)).stat().st_size
    except (FileNotFoundError, DamagedStoreError):
        return False
    return report.store == store and size == shard_bytes(plan.spec, len(plan.rows(shard_id)))


def _rejected_slots(plan: Plan, shard_id: int, codes_nTD: npt.NDArray[Any], report: ShardReport) -> set[int]:
    rows = plan.rows(shard_id)
    expected = (len(rows), *plan.spec.record_shape)
    if codes_nTD.shape != expected or codes_nTD.dtype != plan.spec.codes_dtype:
        raise ValueError(
            f"Shard {shard_id}: codes {codes_nTD.dtype} {codes_nTD.shape}, expected {plan.spec.codes_dtype} {expected}."
        )
    if (report.shard_id, report.num_images) != (shard_id, len(rows)):
        raise ValueError(f"Shard {shard_id} of {len(rows)} images was given the report {report}.")
    slots = {key: slot for slot, key in enumerate(plan.keys[rows.start : rows.stop])}
    unknown = [reject.path for reject in report.rejects if reject.key not in slots]
    if unknown:
        raise ValueError(f"Shard {shard_id}: rejects {unknown} are not among its images.")
    return {slots[reject.key] for reject in report.rejects if reject.key is not None}
