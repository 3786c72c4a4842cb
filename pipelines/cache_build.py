"""Build a cache: plan, make the missing shards, publish the manifest. Any interruption can be resumed."""

from dataclasses import dataclass
from pathlib import Path

from pipelines.cache_plan import PlannedCache
from pipelines.cache_request import CacheRequest
from pipelines.engines import get_engine
from pipelines.progress import STAGES
from stores import Manifest, load_manifest, pending_shards
from stores.layout import MANIFEST


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildResult:
    """How a build ended. `manifest` is None if it was stopped before the last shard."""

    root: Path
    planned: PlannedCache
    manifest: Manifest | None
    num_shards_built: int
    """By the processes of this command; others may have built with them."""
    num_shards_pending: int
    num_images_built: int
    busy_seconds: dict[str, float]
    """Per stage, from `pipelines.progress.STAGES`; the mean of the processes."""
    seconds: float
    """Of making shards, planning not included."""


def build_cache(request: CacheRequest, *, show_progress: bool = False) -> BuildResult:
    """Build the requested cache, or what is missing of it, together with whoever else is building it.

    SIGINT and SIGTERM stop it at the next batch.

    Raises:
        ViralError: unusable teacher, data or settings; too many rejected images.
        StoreError: the folder is not ours or another store's, the disk is full, the codec breaks its promise.
    """
    planned, shares = get_engine(request.engine)(request, show_progress)
    root = request.folder
    pending = pending_shards(root, planned.plan)
    is_finished = not pending and (root / MANIFEST).is_file()
    return BuildResult(
        root=root,
        planned=planned,
        manifest=load_manifest(root) if is_finished else None,
        num_shards_built=sum(share.num_shards_built for share in shares),
        num_shards_pending=len(pending),
        num_images_built=sum(share.num_images_built for share in shares),
        busy_seconds={
            stage: sum(share.busy_seconds[stage] for share in shares) / len(shares) for stage in STAGES
        },
        seconds=max(share.seconds for share in shares),
    )
