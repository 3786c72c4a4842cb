"""Build a cache: plan, make the missing shards, publish the manifest. Any interruption can be resumed."""

from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.cache_encode import Encoder
from pipelines.cache_plan import PlannedCache, check_rejects, plan_cache, read_source
from pipelines.cache_request import CacheRequest
from pipelines.cache_shards import ShardJob, build_shards
from pipelines.interrupt import StopRequest
from pipelines.progress import BuildLog, Meter
from stores import (
    Manifest,
    Plan,
    Reject,
    build_lock,
    check_space,
    create_store,
    finish_store,
    load_manifest,
    pending_shards,
)
from stores.arrays import read_tables
from stores.layout import LOGS, MANIFEST
from stores.report import StoredReport

if TYPE_CHECKING:
    from viral.teachers.teacher import Teacher


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildResult:
    """How a build ended. `manifest` is None if it was stopped before the last shard."""

    root: Path
    planned: PlannedCache
    manifest: Manifest | None
    num_shards_built: int
    num_shards_pending: int
    num_images_built: int
    busy_seconds: dict[str, float]
    """Per stage, from `pipelines.progress.STAGES`."""
    seconds: float
    """Of making shards, planning not included."""


def build_cache(request: CacheRequest, *, show_progress: bool = False) -> BuildResult:
    """Build the requested cache, or what is missing of it. SIGINT and SIGTERM stop it at the next batch.

    Raises:
        ViralError: unusable teacher, data or settings; too many rejected images.
        StoreError: the folder is not ours or another store's, the disk is full, the codec breaks its promise.
    """
    source = read_source(request.data, request.images)  # before gigabytes of teacher are loaded
    teacher = request.load_teacher()
    planned = plan_cache(request, source, teacher, show_progress=show_progress)
    root, plan = request.folder, planned.plan
    check_space(root, plan)
    with build_lock(root), StopRequest() as stop:
        create_store(root, plan)
        pending = pending_shards(root, plan)
        log = BuildLog(root / LOGS / "build.jsonl")
        log.write("start", pending=len(pending), device=str(teacher.mean.device), request=asdict(request))
        with _meter(plan, pending, show_progress) as meter:
            built = _make_shards(request, planned, teacher, pending, meter, stop, log)
        manifest = _finish(root, plan, pending) if built == len(pending) else None
        log.write("end", built=built, seconds=meter.seconds, busy_seconds=meter.busy)
    return BuildResult(
        root=root,
        planned=planned,
        manifest=manifest,
        num_shards_built=built,
        num_shards_pending=len(pending) - built,
        num_images_built=sum(len(plan.rows(shard_id)) for shard_id in pending[:built]),
        busy_seconds=meter.busy,
        seconds=meter.seconds,
    )


def _make_shards(
    request: CacheRequest,
    planned: PlannedCache,
    teacher: "Teacher",
    pending: list[int],
    meter: Meter,
    stop: StopRequest,
    log: BuildLog,
) -> int:
    """Number of shards made; fewer than pending if a stop was requested."""
    root, plan = request.folder, planned.plan
    device_type = teacher.mean.device.type
    job = ShardJob(
        root=root,
        images=planned.source.root,
        plan=plan,
        encoder=Encoder(teacher, plan.spec.codec, read_tables(root, plan.codec)),
        batch_size=request.batch_size_on(device_type),
        workers=request.workers_on(device_type),
    )
    rejects = [*plan.rejects, *_earlier_rejects(root, plan, pending)]
    check_rejects(rejects, len(planned.source.paths), request)
    built = 0
    with closing(build_shards(job, pending, meter, stop)) as reports:
        for report in reports:
            built += 1
            rejects += report.rejects
            log.write("shard", **asdict(report))
            check_rejects(rejects, len(planned.source.paths), request)
    return built


def _meter(plan: Plan, pending: list[int], show: bool) -> Meter:
    to_do = sum(len(plan.rows(shard_id)) for shard_id in pending)
    return Meter(len(plan.keys), plan.record_bytes, show=show, initial=len(plan.keys) - to_do)


def _earlier_rejects(root: Path, plan: Plan, pending: list[int]) -> list[Reject]:
    done = sorted(set(range(plan.num_shards)) - set(pending))
    return [reject for shard_id in done for reject in StoredReport.read(root, shard_id).report.rejects]


def _finish(root: Path, plan: Plan, pending: list[int]) -> Manifest:
    if not pending and (root / MANIFEST).is_file():
        return load_manifest(root)  # finished by an earlier build; left untouched
    return finish_store(root, plan)
