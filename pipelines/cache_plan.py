"""Plan a cache: find the images, give each a key, keep each key once. Nothing is decoded here."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.cache_request import CacheRequest
from pipelines.hash_cache import HashCache
from pipelines.hash_images import content_keys, path_keys
from pipelines.image_sources import Source, read_source
from pipelines.progress import bar
from pipelines.tile_rows import num_pictures, view_rows
from stores import Plan, Reject, StoreSpec, new_images
from stores.layout import HASHES
from stores.lock import require_ours
from viral.data.image_files import ImageFiles
from viral.data.keys import PATH_AND_SIZE
from viral.errors import DataError
from viral.teachers.teacher import Teacher

__all__ = ["PlannedCache", "Source", "check_rejects", "plan_cache", "read_source", "store_spec"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedCache:
    """A plan, and how the annotations came down to it."""

    plan: Plan
    source: Source
    num_read: int = 0
    """Image files whose bytes had to be read; the others were trusted, unusable or known from an earlier plan."""

    @property
    def num_duplicates(self) -> int:
        """Image files that repeat another file's content under a path of their own."""
        num_listed = len(self.source.paths) + len(self.source.rejects)
        return num_listed - len(self.plan.rejects) - self.num_images

    @property
    def num_images(self) -> int:
        """See `num_pictures`."""
        return num_pictures(self.plan)


def plan_cache(
    request: CacheRequest, source: Source, teacher: Teacher, *, show_progress: bool = False
) -> PlannedCache:
    """Resolve, hash and deduplicate the images of `source`; hashes are kept in the folder of the store, or of the one
    that is appended to.

    With `trust_paths` no image is read: its key is its name and size, and the fingerprint says so. With `tiles` every
    view of an image is a row.

    Raises:
        DataError: no usable image, or more rejected ones than allowed.
        StoreError: unknown codec or store format; the folder is not ours; nothing new to append, or made otherwise.
    """
    spec = store_spec(request, teacher)
    require_ours(request.folder)
    files, rejects, num_read = ImageFiles(source.root), list(source.rejects), 0
    first_path: dict[str, str] = {}
    label = "look up" if request.trust_paths else "hash"
    with (
        HashCache((request.append_to or request.folder) / HASHES) as cache,
        bar(len(source.paths), label, show_progress) as progress,
    ):
        found = (
            path_keys(files, source.paths)
            if request.trust_paths
            else content_keys(files, source.paths, cache)
        )
        for name, key, was_read, _ in found:
            num_read += was_read
            if isinstance(key, Reject):
                rejects.append(key)
            else:
                first_path.setdefault(key, name)
            progress.update()
    check_rejects(rejects, len(source.paths), request)
    if not first_path:
        raise DataError(f"No usable image below {source.root}: {_example(rejects)}. Check --images.")
    rows = first_path
    if request.tiling:
        rows = view_rows(files, first_path, request.tiling, show_progress=show_progress)
    plan = Plan(spec=spec, keys=tuple(rows), paths=tuple(rows.values()), rejects=tuple(rejects))
    if request.append_to:
        plan = new_images(request.append_to, request.folder, plan)
    return PlannedCache(plan=plan, source=source, num_read=num_read)


def store_spec(request: CacheRequest, teacher: Teacher) -> StoreSpec:
    """What the requested store holds, whichever its images are."""
    fingerprint = teacher.fingerprint() | ({"keys": PATH_AND_SIZE} if request.trust_paths else {})
    if request.tiling:  # whose views are no padded squares
        fingerprint = {name: fact for name, fact in fingerprint.items() if name not in ("square", "fill")}
        fingerprint["tiles"] = request.tiling.describe()
    return StoreSpec(
        codec=request.codec,
        grid=teacher.grid,
        dim=teacher.spec.dim,
        fingerprint=fingerprint,
        shard_size=request.shard_size,
        store=request.store,
    )


def check_rejects(rejects: Sequence[Reject], num_images: int, request: CacheRequest) -> None:
    """Stop when too many images are unusable.

    Raises:
        DataError: more than allowed; names one of them. Shards written so far are kept.
    """
    allowed, num_rejected = request.rejects_allowed(num_images), len({reject.path for reject in rejects})
    if num_rejected > allowed:
        raise DataError(
            f"{num_rejected} of {num_images} images are unusable, {allowed} are allowed: {_example(rejects)}. "
            "Check --images and the files, or raise --max-rejects; what has been built is kept."
        )


def _example(rejects: Sequence[Reject]) -> str:
    return f"{rejects[-1].path!r}: {rejects[-1].reason}"
