"""What every engine runs, once or many times over: one process's share of a store.

It joins the builders of the store, plans it or takes the plan of those who have, builds whatever shards it can claim
until none is left, and finishes the store if nobody else has. Killed at any moment, it loses its open shards.
"""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.cache_encode import Encoder
from pipelines.cache_plan import PlannedCache, Source, check_rejects, plan_cache, read_source, store_spec
from pipelines.cache_request import CacheRequest
from pipelines.cache_shards import ShardJob
from pipelines.engines.claims import build_claimed
from pipelines.engines.world import World
from pipelines.interrupt import StopRequest
from pipelines.progress import BuildLog, Meter
from stores import (
    Builder,
    Plan,
    Reject,
    check_space,
    create_store,
    finish_store,
    join_build,
    load_plan,
    pending_shards,
)
from stores.arrays import read_tables
from stores.canonical import canonical_json, sha256
from stores.errors import FingerprintError
from stores.layout import LOGS, MANIFEST, PLAN
from stores.publish import remove_partials
from stores.report import StoredReport
from stores.spec import differences
from viral.errors import ConfigError

if TYPE_CHECKING:
    from viral.teachers.teacher import Teacher


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """What one process did."""

    num_shards_built: int
    num_images_built: int
    busy_seconds: dict[str, float]
    """Per stage, from `pipelines.progress.STAGES`."""
    seconds: float
    """Of making shards, planning not included."""


def build_share(
    request: CacheRequest, world: World, *, show_progress: bool = False, name: str | None = None
) -> tuple[PlannedCache, Share]:
    """Build this process's share of the requested cache. SIGINT and SIGTERM stop it at the next batch.

    `name` is for whoever has to `evict` this process should it die unheard.

    Raises:
        ViralError: unusable teacher, data or settings; too many rejected images.
        StoreError: the folder is not ours or another store's, the disk is full, the codec breaks its promise.
    """
    source = read_source(request.data, request.images)  # before gigabytes of teacher are loaded
    request = replace(request, device=_device(request, world))
    teacher = request.load_teacher()
    root, rank = request.folder, world.rank if world.size > 1 else None
    with join_build(root, rank=rank, name=name) as builder:
        with builder.alone():
            planned = _plan(builder, request, source, teacher, show_progress)
            pending = pending_shards(root, planned.plan)
            if pending:
                (root / MANIFEST).unlink(missing_ok=True)  # a store that lacks shards is an unfinished one
        job = _job(builder, request, planned, teacher, world)
        with StopRequest() as stop:
            share = _build(job, request, planned, pending, world, stop, show_progress)
            if not pending_shards(root, planned.plan):
                _finish(builder, request, planned)
    return planned, share


def _device(request: CacheRequest, world: World) -> str | None:
    import torch

    if request.device in (None, "auto") and world.local_rank is not None and torch.cuda.is_available():
        return f"cuda:{world.local_rank % torch.cuda.device_count()}"
    return request.device


def _plan(
    builder: Builder, request: CacheRequest, source: Source, teacher: "Teacher", show_progress: bool
) -> PlannedCache:
    """Plan and create the store; or take its plan, if somebody is building who has planned the same images."""
    root, work = request.folder, sha256(canonical_json(source.paths))
    if (root / PLAN).is_file() and any(other.work == work for other in builder.others()):
        planned = PlannedCache(plan=load_plan(root), source=source)
        found, expected = (asdict(spec) for spec in (planned.plan.spec, store_spec(request, teacher)))
        if fields := differences(found, expected):
            raise FingerprintError(
                f"{root} is being built with other settings: {'; '.join(fields)}. Choose another --out, or the same."
            )
    else:
        planned = plan_cache(request, source, teacher, show_progress=show_progress)
    check_space(root, planned.plan)
    create_store(root, planned.plan)
    builder.announce(work)
    return planned


def _job(
    builder: Builder, request: CacheRequest, planned: PlannedCache, teacher: "Teacher", world: World
) -> ShardJob:
    plan, device_type = planned.plan, teacher.mean.device.type
    if request.compile:
        if device_type != "cuda":
            raise ConfigError("--compile is for CUDA devices; leave it out.")
        teacher.compile()
    workers = request.workers_on(device_type)
    if request.workers is None:
        workers = max(1, workers // world.local_size)
    return ShardJob(
        builder=builder,
        root=request.folder,
        images=planned.source.root,
        plan=plan,
        encoder=Encoder(teacher, plan.spec.codec, read_tables(request.folder, plan.codec)),
        batch_size=request.batch_size_on(device_type),
        workers=workers,
    )


def _build(
    job: ShardJob,
    request: CacheRequest,
    planned: PlannedCache,
    pending: list[int],
    world: World,
    stop: StopRequest,
    show_progress: bool,
) -> Share:
    log = BuildLog(job.root / LOGS / ("build.jsonl" if world.size == 1 else f"build-{world.rank}.jsonl"))
    log.write("start", pending=len(pending), device=str(job.encoder.device), request=asdict(request))
    done = sorted(set(range(job.plan.num_shards)) - set(pending))
    rejects, num_paths = _rejects(job.root, job.plan, done), len(planned.source.paths)
    check_rejects(rejects, num_paths, request)
    built = []
    with (
        _meter(job.plan, pending, show_progress) as meter,
        closing(build_claimed(job, pending, world, meter, stop)) as reports,
    ):
        for report in reports:
            built.append(report)
            rejects += report.rejects
            log.write("shard", **asdict(report))
            check_rejects(rejects, num_paths, request)
    log.write("end", built=len(built), seconds=meter.seconds, busy_seconds=meter.busy)
    return Share(
        num_shards_built=len(built),
        num_images_built=sum(report.num_images for report in built),
        busy_seconds=meter.busy,
        seconds=meter.seconds,
    )


def _meter(plan: Plan, pending: list[int], show: bool) -> Meter:
    to_do = sum(len(plan.rows(shard_id)) for shard_id in pending)
    return Meter(len(plan.keys), plan.record_bytes, show=show, initial=len(plan.keys) - to_do)


def _rejects(root: Path, plan: Plan, shard_ids: Iterable[int]) -> list[Reject]:
    """Unusable images that are known from the plan and from shards that are there."""
    reports = (StoredReport.read(root, shard_id).report for shard_id in shard_ids)
    return [*plan.rejects, *(reject for report in reports for reject in report.rejects)]


def _finish(builder: Builder, request: CacheRequest, planned: PlannedCache) -> None:
    """Publish the manifest of a store that has all its shards, unless another builder has."""
    root, plan = request.folder, planned.plan
    with builder.alone():
        remove_partials(root)  # of builders that died, or were replaced while they wrote
        if not (root / MANIFEST).is_file():
            check_rejects(_rejects(root, plan, range(plan.num_shards)), len(planned.source.paths), request)
            finish_store(root, plan)
