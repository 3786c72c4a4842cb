"""What a planned cache will cost: bytes for each codec, room on the disk, time from a short calibration."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pipelines.cache_decode import SquareDataset, collate_squares
from pipelines.cache_encode import Encoder
from pipelines.cache_plan import PlannedCache, plan_cache
from pipelines.cache_request import CacheRequest
from pipelines.image_sources import SourceCount, read_source
from stores import CODECS
from stores.codecs import TABLE_SEED
from stores.space import free_bytes, missing_bytes
from viral.data.keys import CONTENT

if TYPE_CHECKING:
    from viral.teachers.teacher import Teacher

CALIBRATION_IMAGES = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanSummary:
    """A planned cache in numbers; sizes in bytes, times in seconds on this machine."""

    out: str
    teacher: str
    weights: str
    profile: str
    scramble_seed: int | None
    codec: str
    keys: str
    """How images are filed: by content, or by trusted paths (`viral.data.keys`)."""
    device: str
    sources: tuple[SourceCount, ...]
    images_by_folder: dict[str, int]
    """Image files asked for, by the first folder of their names; largest first."""
    rejects_by_folder: dict[str, int]
    num_entries: int
    num_text_only: int
    num_image_files: int
    num_images: int
    num_records: int
    """One of each image, or of each view where they are tiled."""
    num_duplicates: int
    num_rejects: int
    num_files_read: int
    """To be hashed; files that have not changed since an earlier plan are not read again."""
    num_shards: int
    bytes_by_codec: dict[str, int]
    bytes_missing: int
    bytes_free: int
    seconds_per_image: dict[str, float]
    slowest_stage: str
    seconds: float


def summarise_plan(request: CacheRequest, *, show_progress: bool = False) -> tuple[PlannedCache, PlanSummary]:
    """Plan a cache, and decode and encode a few of its images to tell how long the build takes.

    Raises:
        ViralError, StoreError: as `build_cache`, but for a disk without room: the caller checks that.
    """
    source = read_source(request.data, request.images)
    teacher = request.load_teacher()
    planned = plan_cache(request, source, teacher, show_progress=show_progress)
    return planned, _summarise(request, planned, teacher)


def _summarise(request: CacheRequest, planned: PlannedCache, teacher: "Teacher") -> PlanSummary:
    plan, source = planned.plan, planned.source
    fingerprint = plan.spec.fingerprint
    per_image = _calibrate(request, planned, teacher)
    slowest = max(per_image, key=lambda stage: per_image[stage])
    return PlanSummary(
        out=str(request.folder),
        teacher=fingerprint["teacher"],
        weights=fingerprint["weights"],
        profile=fingerprint["profile"],
        scramble_seed=fingerprint["scramble_seed"],
        codec=plan.spec.codec,
        keys=fingerprint.get("keys", CONTENT),
        device=str(teacher.mean.device),
        sources=source.counts,
        images_by_folder=_by_folder(source.paths),
        rejects_by_folder=_by_folder(reject.path for reject in plan.rejects),
        num_entries=source.num_entries,
        num_text_only=source.num_text_only,
        num_image_files=len(source.paths),
        num_images=planned.num_images,
        num_records=len(plan.keys),
        num_duplicates=planned.num_duplicates,
        num_rejects=len(plan.rejects),
        num_files_read=planned.num_read,
        num_shards=plan.num_shards,
        bytes_by_codec={
            name: replace(plan, spec=replace(plan.spec, codec=name)).total_bytes for name in CODECS
        },
        bytes_missing=missing_bytes(request.folder, plan),
        bytes_free=free_bytes(request.folder),
        seconds_per_image=per_image,
        slowest_stage=slowest,
        seconds=len(plan.keys) * per_image[slowest],
    )


def _by_folder(names: Iterable[str]) -> dict[str, int]:
    """Counts by first folder; data sets like LLaVA's are made of such parts, and lack whole ones."""
    return dict(Counter(name.partition("/")[0] for name in names if "/" in name).most_common())


def _calibrate(request: CacheRequest, planned: PlannedCache, teacher: "Teacher") -> dict[str, float]:
    """Seconds per image of the stages that depend on the machine, on images spread over the plan."""
    plan, device_type = planned.plan, teacher.mean.device.type
    tables = plan.codec.make_tables(plan.spec.num_tokens, plan.spec.dim, TABLE_SEED)
    encoder = Encoder(teacher, plan.spec.codec, tables)
    dataset = SquareDataset(plan, planned.source.root, teacher.square_size)
    size = min(
        len(plan.keys), CALIBRATION_IMAGES if device_type == "cpu" else request.batch_size_on(device_type)
    )
    rows = np.linspace(0, len(plan.keys) - 1, size).astype(int)
    if request.tiling:  # whose neighbours share the decoding of a picture
        rows = np.arange(size)
    batch = collate_squares([dataset[row] for row in rows], plan.spec.shard_size)
    encoder(batch).clock.seconds()  # the first call also allocates and selects kernels
    return {
        "decode": batch.seconds / size / max(1, request.workers_on(device_type)),
        "encode": encoder(batch).clock.seconds() / size,
    }
