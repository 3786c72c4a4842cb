"""Plan a cache: find the images, hash them, keep each content once. Nothing is decoded here."""

import hashlib
import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pipelines.cache_request import DEFAULT_DATA, DEFAULT_IMAGES, CacheRequest
from pipelines.progress import bar
from stores import Plan, Reject, StoreSpec, new_images
from viral.data.annotations import read_annotations, resolve_image
from viral.errors import DataError, ImageError
from viral.teachers.teacher import Teacher

HASH_THREADS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The images asked for: distinct relative paths below `root`, in order of first appearance."""

    root: Path
    paths: tuple[str, ...]
    num_entries: int
    num_text_only: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedCache:
    """A plan, and how the annotations came down to it."""

    plan: Plan
    source: Source

    @property
    def num_duplicates(self) -> int:
        """Image files that repeat another file's content under a path of their own."""
        return len(self.source.paths) - len(self.plan.rejects) - len(self.plan.keys)


def read_source(data: Path | None, images: Path | None) -> Source:
    """Image paths named by annotations, or of all images below a folder if only `images` is given.

    Raises:
        DataError: no annotations, no image folder, or no image named by either.
    """
    if data is None and images is None:
        data = DEFAULT_DATA
    root = images or DEFAULT_IMAGES
    if data is None:
        return _folder_source(root)
    samples = read_annotations(data)
    _require_folder(root)
    paths = tuple(dict.fromkeys(sample.image for sample in samples if sample.image is not None))
    if not paths:
        raise DataError(f"{data} names no image: all of its {len(samples)} entries are text only.")
    num_text_only = sum(sample.image is None for sample in samples)
    return Source(root=root, paths=paths, num_entries=len(samples), num_text_only=num_text_only)


def plan_cache(
    request: CacheRequest, source: Source, teacher: Teacher, *, show_progress: bool = False
) -> PlannedCache:
    """Resolve, hash and deduplicate the images of `source`.

    Raises:
        DataError: no usable image, or more rejected ones than allowed.
        StoreError: unknown codec or store format; nothing new to append, or made otherwise.
    """
    spec = StoreSpec(
        codec=request.codec,
        grid=teacher.spec.grid,
        dim=teacher.spec.dim,
        fingerprint=teacher.fingerprint(),
        shard_size=request.shard_size,
        store=request.store,
    )
    hashed = _hash_images(source, show_progress)
    rejects = tuple(item for item in hashed if isinstance(item, Reject))
    check_rejects(rejects, len(source.paths), request)
    first_path: dict[str, str] = {}
    for path, item in zip(source.paths, hashed, strict=True):
        if isinstance(item, str):
            first_path.setdefault(item, path)
    if not first_path:
        raise DataError(f"No usable image below {source.root}: {_example(rejects)}. Check --images.")
    plan = Plan(spec=spec, keys=tuple(first_path), paths=tuple(first_path.values()), rejects=rejects)
    if request.append_to:
        plan = new_images(request.append_to, request.folder, plan)
    return PlannedCache(plan=plan, source=source)


def check_rejects(rejects: Sequence[Reject], num_images: int, request: CacheRequest) -> None:
    """Stop when too many images are unusable.

    Raises:
        DataError: more than allowed; names one of them. Shards written so far are kept.
    """
    allowed = request.rejects_allowed(num_images)
    if len(rejects) > allowed:
        raise DataError(
            f"{len(rejects)} of {num_images} images are unusable, {allowed} are allowed: {_example(rejects)}. "
            "Check --images and the files, or raise --max-rejects; what has been built is kept."
        )


def _folder_source(root: Path) -> Source:
    _require_folder(root)
    suffixes = Image.registered_extensions()
    paths = tuple(
        path.relative_to(root).as_posix()
        for path in sorted(root.rglob("*"))
        if path.suffix.lower() in suffixes
    )
    if not paths:
        raise DataError(f"{root} holds no image file; give the folder of the images with --images.")
    return Source(root=root, paths=paths, num_entries=len(paths), num_text_only=0)


def _require_folder(root: Path) -> None:
    if not root.is_dir():
        raise DataError(f"No image folder at {root}; give the folder of the images with --images.")


def _hash_images(source: Source, show_progress: bool) -> list[str | Reject]:
    with ThreadPoolExecutor(HASH_THREADS) as pool, bar(len(source.paths), "hash", show_progress) as progress:
        hashed = []
        for item in pool.map(lambda path: _hash_image(source.root, path), source.paths):
            hashed.append(item)
            progress.update()
    return hashed


def _hash_image(root: Path, relative: str) -> str | Reject:
    """SHA-256 of the file, or why there is none. Reasons name no folder: the plan stays the same elsewhere."""
    try:
        path = resolve_image(root, relative)
    except (ImageError, ValueError, OSError):  # ValueError: a null byte in the path; OSError: a loop of links
        return Reject(path=relative, reason="leaves the image root, or is no path")
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return Reject(path=relative, reason="not a regular file")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return Reject(path=relative, reason=os.strerror(error.errno) if error.errno else "cannot be read")


def _example(rejects: Sequence[Reject]) -> str:
    return f"{rejects[-1].path!r}: {rejects[-1].reason}"
