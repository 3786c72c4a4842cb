"""What happens to a cache after it is built: it is exported, merged with another, or grows by new images."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pipelines.cache_build import BuildResult, build_cache
from pipelines.cache_request import CacheRequest, request_like
from pipelines.progress import bar
from stores import Manifest, combine_stores, load_manifest
from stores.errors import NothingToAppendError
from stores.formats import FORMATS
from stores.parts import base_of, next_part
from stores.safetensors_files import export_safetensors
from viral.errors import ConfigError

if TYPE_CHECKING:
    from tqdm import tqdm

Progress = Callable[[int, int], None]


def _to_store(store: str, root: Path, out: Path, progress: Progress) -> None:
    combine_stores([root], out, store=store, progress=progress)


def _to_safetensors(root: Path, out: Path, progress: Progress) -> None:
    export_safetensors(root, out, progress)


EXPORTS: dict[str, Callable[[Path, Path, Progress], None]] = {
    **{name: partial(_to_store, name) for name in FORMATS},
    "safetensors": _to_safetensors,
}


def export_cache(root: Path, to: str, out: Path, *, show_progress: bool = False) -> None:
    """Copy a cache into another format; repeating an interrupted call resumes it.

    Raises:
        ConfigError: no such format.
        StoreError: no finished cache at `root`, a damaged record, or something else at `out`.
    """
    if to not in EXPORTS:
        raise ConfigError(f"Unknown export format {to!r}. Known: {', '.join(sorted(EXPORTS))}.")
    with bar(0, "export", show_progress, unit="shard") as progress:
        EXPORTS[to](root, out, _advance(progress))


def merge_caches(roots: Sequence[Path], out: Path, *, show_progress: bool = False) -> Manifest:
    """Make one cache of several with the same fingerprint, each image once; repeating it resumes.

    Raises:
        StoreError: a cache is unfinished or damaged, their fingerprints differ, or something else is at `out`.
    """
    with bar(0, "merge", show_progress, unit="shard") as progress:
        return combine_stores(roots, out, progress=_advance(progress))


def append_images(root: Path, wanted: CacheRequest, *, show_progress: bool = False) -> BuildResult | None:
    """Add the images of `wanted` that the cache does not have, as a new part; None if it has them all.

    Teacher, profile, dtype, grid, kind of keys, codec, format and shard size are the cache's; `wanted` says which
    images, which weights and how fast. Repeating an interrupted call resumes it.

    Raises:
        ConfigError: `root` is itself a part of a cache; readers of that would not look for parts of it.
        FingerprintError: other weights or libraries than those that built the cache, or it does not say which.
        ViralError, StoreError: as `build_cache`.
    """
    if (base := base_of(root)) is not None:
        raise ConfigError(f"{root} is a part of {base}; append to {base}.")
    request = request_like(load_manifest(root).spec, wanted)
    request = replace(request, out=next_part(root), append_to=root)
    try:
        return build_cache(request, show_progress=show_progress)
    except NothingToAppendError:
        return None


def _advance(progress: "tqdm[NoReturn]") -> Progress:
    def advance(done: int, total: int) -> None:
        progress.total = total
        progress.update(done - progress.n)

    return advance
