"""Rows of a store of tiled pictures: one for each view of each distinct image, from the sizes in the files' headers."""

from collections.abc import Mapping
from functools import partial

from pipelines.hash_images import in_threads
from pipelines.progress import bar
from stores import Plan
from viral.data.image_files import ImageFiles
from viral.data.images import image_size
from viral.data.tiles import Size, Tiling, view_key
from viral.errors import ImageError

HEADER_BYTES = 1 << 16
"""Of a file, read first; where the size comes later, all of it is read."""


def view_rows(
    files: ImageFiles, first_path: Mapping[str, str], tiling: Tiling, *, show_progress: bool = False
) -> dict[str, str]:
    """Name by key of every view, images in order and the views of each together.

    An image whose size cannot be read, or that is too long for tiles, has one row, which the build then rejects.
    """
    rows: dict[str, str] = {}
    counts = in_threads(partial(_num_views, files, tiling), list(first_path.values()))
    with bar(len(first_path), "measure", show_progress) as progress:
        for (key, name), count in zip(first_path.items(), counts, strict=True):
            rows |= {view_key(key, view): name for view in range(count)}
            progress.update()
    return rows


def num_pictures(plan: Plan) -> int:
    """Distinct images; each is a row, or several of one path where they are tiled."""
    return len(set(plan.paths)) if "tiles" in plan.spec.fingerprint else len(plan.keys)


def _num_views(files: ImageFiles, tiling: Tiling, name: str) -> int:
    try:
        return tiling.num_views(_size(files, name))
    except (ImageError, OSError):
        return 1


def _size(files: ImageFiles, name: str) -> Size:
    extent = files.locate(name)
    try:
        return image_size(extent.read(HEADER_BYTES))
    except ImageError:
        return image_size(extent.read())
