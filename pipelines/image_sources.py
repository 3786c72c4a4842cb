"""Where a cache's images come from: annotation files, or all images below a folder, tar shards included."""

import os
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from pipelines.cache_request import DEFAULT_DATA, DEFAULT_IMAGES
from stores import Reject
from viral.data.annotations import iter_annotations
from viral.data.image_files import TAR, ImageFiles, reject_reason, tar_members
from viral.errors import DataError, ImageError


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceCount:
    """What one annotation file, or the folder, asks for."""

    name: str
    num_entries: int
    num_text_only: int
    num_images: int
    """Distinct names of images."""
    num_new_images: int
    """Of these, names that no source before this one has."""
    num_repeated_ids: int
    """Entries whose id an earlier entry of this file has. LLaVA's own data repeats ids; nothing here needs them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The images asked for: distinct relative paths below `root`, in order of first appearance."""

    root: Path
    paths: tuple[str, ...]
    counts: tuple[SourceCount, ...]
    rejects: tuple[Reject, ...] = ()
    """Folders and tar files that cannot be listed."""

    @property
    def num_entries(self) -> int:
        """Annotations, or files of a folder."""
        return sum(count.num_entries for count in self.counts)

    @property
    def num_text_only(self) -> int:
        """Annotations without an image."""
        return sum(count.num_text_only for count in self.counts)


def read_source(data: Path | Sequence[Path] | None, images: Path | None) -> Source:
    """Image paths named by annotation files, or of all images below a folder if only `images` is given.

    Raises:
        DataError: no annotations, no image folder, or no image named by either.
    """
    root = images or DEFAULT_IMAGES
    if not data and images is not None:
        return _folder_source(root)
    files = [DEFAULT_DATA] if not data else [data] if isinstance(data, Path) else data
    seen: dict[str, None] = {}
    counts = tuple(_add_annotations(file, seen) for file in files)
    _require_folder(root)
    if not seen:
        num_entries = sum(count.num_entries for count in counts)
        names = ", ".join(map(str, files))
        raise DataError(f"{names} names no image: all of its {num_entries} entries are text only.")
    return Source(root=root, paths=tuple(seen), counts=counts)


def _add_annotations(path: Path, seen: dict[str, None]) -> SourceCount:
    """Count one file's entries, and put the images it names into `seen`."""
    num_seen = len(seen)
    here: set[str] = set()
    ids: set[str] = set()
    num_entries = num_text_only = num_repeated_ids = 0
    for sample in iter_annotations(path):
        num_entries += 1
        num_repeated_ids += sample.id != "" and sample.id in ids
        ids.add(sample.id)
        num_text_only += not sample.images
        here.update(sample.images)
        seen.update(dict.fromkeys(sample.images))
    return SourceCount(
        name=str(path),
        num_entries=num_entries,
        num_text_only=num_text_only,
        num_images=len(here),
        num_new_images=len(seen) - num_seen,
        num_repeated_ids=num_repeated_ids,
    )


def _folder_source(root: Path) -> Source:
    _require_folder(root)
    rejects: list[Reject] = []
    paths = tuple(_image_names(ImageFiles(root), rejects))
    if not paths:
        found = f" ({rejects[0].path or 'it'!r}: {rejects[0].reason})" if rejects else ""
        raise DataError(f"{root} holds no image file{found}; give the folder of the images with --images.")
    count = SourceCount(
        name=str(root),
        num_entries=len(paths),
        num_text_only=0,
        num_images=len(paths),
        num_new_images=len(paths),
        num_repeated_ids=0,
    )
    return Source(root=root, paths=paths, counts=(count,), rejects=tuple(rejects))


def _image_names(files: ImageFiles, rejects: list[Reject]) -> Iterator[str]:
    """Names of images below the root, depth first, sorted within each folder.

    Links to folders are listed as images, and so come to be rejected by name: following them could go in circles.
    """
    suffixes = frozenset(Image.registered_extensions())
    waiting = [_Entry("", True, False)]
    while waiting:
        name, is_folder, is_link_to_folder = waiting.pop()
        suffix = _suffix(name)
        try:
            if is_folder:
                waiting += reversed(_entries(files.root, name))
            elif suffix == TAR:
                extent = files.locate(name)
                members = tar_members(extent.path, extent.stamp)
                yield from (f"{name}/{member}" for member in members if _suffix(member) in suffixes)
            elif is_link_to_folder or suffix in suffixes:
                yield name
        except (ImageError, OSError) as error:
            rejects.append(Reject(path=name, reason=reject_reason(error)))


class _Entry(NamedTuple):
    name: str
    is_folder: bool
    is_link_to_folder: bool


def _entries(root: Path, folder: str) -> list[_Entry]:
    """What a folder holds, sorted by name."""
    with os.scandir(root / folder) as entries:
        return sorted(
            _Entry(
                posixpath.join(folder, entry.name),
                entry.is_dir(follow_symlinks=False),
                entry.is_symlink() and os.path.isdir(entry.path),
            )
            for entry in entries
        )


def _suffix(name: str) -> str:
    return posixpath.splitext(name)[1].lower()


def _require_folder(root: Path) -> None:
    if not root.is_dir():
        raise DataError(f"No image folder at {root}; give the folder of the images with --images.")
