"""Where annotated images lie on the disk. A `.tar` file below the root is a folder of its members.

So a webdataset is a folder of images like any other: member `0001.jpg` of `train/000.tar` is `train/000.tar/0001.jpg`.
"""

import os
import stat
import tarfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from viral.errors import DataError, ImageError

TAR = ".tar"
OPEN_TARS = 16
"""Tar files whose lists of members are kept in memory."""

_OUTSIDE = "leaves the image root, or is no path"
_REPLACE = "Copy it again, or move it out of the folder."


class Stamp(NamedTuple):
    """What the file system changes when it changes a file; `ctime_ns` also when somebody sets `mtime_ns` back."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Stamp":
        """Stamp from what `stat` says."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


class Extent(NamedTuple):
    """The bytes of one image: `size` of them from `offset` on in the file `path`, which had this stamp."""

    path: str
    offset: int
    size: int
    stamp: Stamp

    def read(self, most: int | None = None) -> bytes:
        """The bytes, or the first `most` of them; fewer if the file has shrunk since.

        Raises:
            OSError: the file has gone or cannot be read.
        """
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            return file.read(self.size if most is None else min(most, self.size))


class ImageFiles:
    """Images below one folder, by relative name. Cheap to make; remembers where subfolders really are."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._real_root = os.path.realpath(root)
        self._real_folders: dict[str, str] = {}

    def read(self, name: str) -> bytes:
        """Bytes of an image; raises as `locate`."""
        return self.locate(name).read()

    def locate(self, name: str) -> Extent:
        """Where an image's bytes are, without reading them.

        Raises:
            ImageError: the name is absolute or leaves the root, by `..` or by a link, or names no regular file.
            DataError: its tar file is damaged.
            OSError: there is no such file, or it cannot be looked up.
        """
        archive, dot_tar, member = name.partition(f"{TAR}/")
        path, status = self._resolve(archive + TAR if dot_tar else name)
        if dot_tar and stat.S_ISDIR(status.st_mode):
            path, status = self._resolve(name)
        elif dot_tar and stat.S_ISREG(status.st_mode):
            return _locate_member(path, Stamp.of(status), member)
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("not a regular file")
        return Extent(path, 0, status.st_size, Stamp.of(status))

    def _resolve(self, name: str) -> tuple[str, os.stat_result]:
        """The file behind a name, links followed. One `lstat` each: their folders are resolved only once."""
        folder, _, base = name.rpartition("/")
        if name.startswith("/") or base in ("", ".", ".."):
            return self._resolve_whole(name)
        if folder not in self._real_folders:
            self._real_folders[folder] = self._inside(folder)
        path = os.path.join(self._real_folders[folder], base)
        try:
            status = os.lstat(path)
        except ValueError as error:  # a null byte, or a character that no file name can hold
            raise ImageError(_OUTSIDE) from error
        return self._resolve_whole(name) if stat.S_ISLNK(status.st_mode) else (path, status)

    def _resolve_whole(self, name: str) -> tuple[str, os.stat_result]:
        path = self._inside(name)
        return path, os.stat(path)

    def _inside(self, name: str) -> str:
        try:
            path = os.path.realpath(os.path.join(self._real_root, name))
            outside = os.path.commonpath((path, self._real_root)) != self._real_root
        except ValueError as error:
            raise ImageError(_OUTSIDE) from error
        if name.startswith("/") or outside:
            raise ImageError(_OUTSIDE)
        return path


def reject_reason(error: ImageError | OSError) -> str:
    """Why an image cannot be used. Names no folder: a store's bytes are the same wherever the images lie."""
    return (error.strerror if isinstance(error, OSError) else str(error)) or "cannot be read"


@lru_cache(OPEN_TARS)
def tar_members(path: str, stamp: Stamp) -> Mapping[str, tuple[int, int]]:
    """Offset and size of each regular file in a tar file; of members with the same name the last counts.

    Raises:
        DataError: no tar file, or one that is damaged or cut short.
    """
    try:
        with tarfile.open(path, "r:") as archive:
            members = {
                member.name.removeprefix("./"): (member.offset_data, member.size)
                for member in archive
                if member.isreg() and not member.issparse()
            }
            end = archive.offset
    except tarfile.TarError as error:
        raise DataError(f"{path!r} is no sound tar file: {error}. {_REPLACE}") from error
    with open(path, "rb") as file:  # tarfile takes a damaged header for the end
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise DataError(f"{path!r} is damaged, or cut short, at byte {end:,}. {_REPLACE}")
    return members


def _locate_member(path: str, stamp: Stamp, member: str) -> Extent:
    place = tar_members(path, stamp).get(member)
    if place is None:
        raise ImageError("no such member of the tar file")
    return Extent(path, *place, stamp)
