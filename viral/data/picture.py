"""One image of a sample, and what can be made of it; nothing is read before somebody asks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image

from viral.data.image_files import ImageFiles, reject_reason
from viral.data.images import decode_image, to_square
from viral.data.keys import KeyOf, content_key
from viral.data.tiles import Size, Tiling, resize_views, view_key
from viral.errors import ImageError


class Picture:
    """An image by its name. Its file is read and decoded once, or never."""

    def __init__(self, name: str, files: ImageFiles) -> None:
        self.name, self._files = name, files

    @cached_property
    def data(self) -> bytes:
        """Bytes of the file.

        Raises:
            ImageError: it cannot be read.
        """
        try:
            return self._files.read(self.name)
        except OSError as error:
            raise ImageError(f"{self.name!r}: {reject_reason(error)}") from error

    @cached_property
    def image(self) -> Image.Image:
        """The decoded image; raises as `data` and `decode_image`."""
        return decode_image(self.data)

    @property
    def size(self) -> Size:
        """Height and width in px; raises as `image`."""
        return self.image.height, self.image.width


class Source(Protocol):
    """What makes one array of each view of a picture, in a loading process; a picture without tiles has one view."""

    def __call__(self, picture: Picture) -> Sequence[np.ndarray]:
        """The arrays; raises as the picture does, or as the store it is read from."""


class Reader(Protocol):
    """What the trainer needs of a feature store: codes [T, W] by the key of an image file."""

    def read(self, key: str) -> np.ndarray:
        """Codes of one image."""


class Target(NamedTuple):
    """Codes from a store that files images, or the views of their `tiling`, under `key_of` their name and bytes."""

    reader: Reader
    key_of: KeyOf = content_key
    tiling: Tiling | None = None

    def __call__(self, picture: Picture) -> Sequence[np.ndarray]:
        """Codes [T, W] of each view."""
        key = self.key_of(picture.name, picture.data)
        if self.tiling is None:
            return [self.reader.read(key)]
        return [self.reader.read(view_key(key, view)) for view in range(self.tiling.num_views(picture.size))]


class KnownTarget(NamedTuple):
    """Codes from a store whose keys were settled before, by name: no image file is opened."""

    reader: Reader
    keys: Mapping[str, str]

    def __call__(self, picture: Picture) -> Sequence[np.ndarray]:
        """Codes [T, W]."""
        return [self.reader.read(self.keys[picture.name])]


@dataclass(frozen=True, slots=True)
class Square:
    """The picture as a model's uint8 square."""

    size: int
    mode: str
    fill: tuple[int, int, int]
    """Colour of the bars that `pad` adds."""

    def __call__(self, picture: Picture) -> Sequence[np.ndarray]:
        """Pixels [size, size, 3]."""
        return [to_square(picture.image, self.size, self.mode, self.fill)]


@dataclass(frozen=True, slots=True)
class Views:
    """The picture as uint8 squares, one for each view of a tiling, in another size if a teacher wants one."""

    tiling: Tiling
    size: int

    def __call__(self, picture: Picture) -> Sequence[np.ndarray]:
        """Pixels [size, size, 3] of each view."""
        return list(resize_views(self.tiling.views(picture.image), self.size))
