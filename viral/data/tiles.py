"""Tilings: a picture seen whole and in parts, each of them a square of the vision tower (LLaVA-NeXT's "anyres").

View 0 is the whole picture, squeezed into a square. The others are the tiles, row by row, of the picture enlarged or
reduced, in its own shape, to the best of a few resolutions, with black bars where it is shorter. Teacher and student
see the same views. Sizes are (height, width), as in transformers.

Shapes: M visual tokens of a picture, P patches along a side of a view.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from viral.errors import ConfigError, ImageError, UnknownNameError

Size = tuple[int, int]
"""Height and width in px."""

NEWLINE = -1
"""In place of view and patch: the learned token that ends a row of tiles."""

MAX_RATIO = 64
"""Of a picture's sides; a longer one is a line in its tiles, of which nothing is left without the bars."""

TILINGS: dict[str, tuple[Size, ...]] = {
    "llava-next": ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3)),
}
"""Rows and columns of tiles by name, in the order of the library's `image_grid_pinpoints`: of equals the first wins."""

DEFAULT_SIDE = 336


@dataclass(frozen=True, kw_only=True, slots=True)
class Tiling:
    """Which views a picture has: the grids that its tiles may form, for towers that take squares of `side` px."""

    name: str
    side: int = DEFAULT_SIDE

    def __post_init__(self) -> None:
        if self.name not in TILINGS:
            raise UnknownNameError("tiling", self.name, list(TILINGS))

    @property
    def label(self) -> str:
        """What `get_tiling` reads."""
        return f"{self.name}@{self.side}"

    @property
    def pinpoints(self) -> list[list[int]]:
        """The resolutions (height, width), as `image_grid_pinpoints` of a LLaVA-NeXT has them."""
        return [[self.side * rows, self.side * columns] for rows, columns in TILINGS[self.name]]

    @property
    def most_views(self) -> int:
        """Of any picture."""
        return 1 + max(rows * columns for rows, columns in TILINGS[self.name])

    def grid(self, size: Size) -> Size:
        """Rows and columns of a picture's tiles.

        Raises:
            ImageError: so long and thin that its tiles would show nothing.
        """
        from transformers.image_processing_utils import select_best_resolution

        if max(size) > MAX_RATIO * min(size):
            raise ImageError(f"refused: {size[1]} x {size[0]} pixels are too long and thin for tiles")
        height, width = select_best_resolution(size, self.pinpoints)
        return height // self.side, width // self.side

    def num_views(self, size: Size) -> int:
        """The whole picture and its tiles; raises as `grid`."""
        rows, columns = self.grid(size)
        return 1 + rows * columns

    def views(self, image: Image.Image) -> np.ndarray:
        """Every view of an RGB image, uint8 [views, side, side, 3]; raises as `grid`."""
        side, bicubic = self.side, Image.Resampling.BICUBIC
        rows, columns = self.grid((image.height, image.width))
        canvas = Image.new("RGB", (columns * side, rows * side))
        fitted = image.resize(_fit(image.size, canvas.size), bicubic)
        canvas.paste(fitted, ((canvas.width - fitted.width) // 2, (canvas.height - fitted.height) // 2))
        tiles = (
            np.asarray(canvas).reshape(rows, side, columns, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
        )
        return np.concatenate([np.asarray(image.resize((side, side), bicubic))[None], tiles])

    def describe(self) -> dict[str, Any]:
        """For the fingerprint of a store, as JSON values."""
        return {"name": self.name, "side": self.side, "pinpoints": self.pinpoints}


def get_tiling(label: str) -> Tiling:
    """`llava-next`, or `llava-next@384` for a tower of another size.

    Raises:
        UnknownNameError: no such tiling.
        ConfigError: a size that is none.
    """
    name, at, side = label.partition("@")
    if at and not (side.isdecimal() and int(side)):
        raise ConfigError(
            f"{label!r}: expected a tiling and the side of its squares in px, as in {name}@384."
        )
    return Tiling(name=name, side=int(side or DEFAULT_SIDE))


def tiling_of_store(fingerprint: Mapping[str, Any]) -> Tiling | None:
    """How the store with this fingerprint tiles its pictures; None: it does not.

    Raises:
        UnknownNameError: in a way that a newer version has invented.
    """
    found = fingerprint.get("tiles")
    return get_tiling(f"{found['name']}@{found['side']}") if found else None


def resize_views(views: np.ndarray, size: int) -> np.ndarray:
    """Views [n, S, S, 3] as squares of another size: what a teacher sees that does not take the student's."""
    if views.shape[1] == size:
        return views
    resized = [Image.fromarray(view).resize((size, size), Image.Resampling.BICUBIC) for view in views]
    return np.stack([np.asarray(view) for view in resized])


def view_key(key: str, view: int) -> str:
    """What the record of one view is filed under, 64 hex digits; `key` is that of the image."""
    return hashlib.sha256(f"view {view} of {key}".encode()).hexdigest()


class TileTokens(NamedTuple):
    """Where each visual token of a picture comes from, in the order in which the language model reads them."""

    view: np.ndarray
    """[M]; 0 is the whole picture, then the tiles row by row; NEWLINE at the end of a row."""
    patch: np.ndarray
    """[M]; row-major in its view, 0 to P * P - 1; NEWLINE as above."""

    def of_view(self, view: int) -> tuple[np.ndarray, np.ndarray]:
        """Which visual tokens [m] show this view, and its patches [m] that they show, ascending; bars have no token."""
        (tokens,) = np.nonzero(self.view == view)
        return tokens, self.patch[tokens]


def tile_tokens(tiling: Tiling, size: Size, patches: int) -> TileTokens:
    """The visual tokens of a picture of this size, as transformers' `pack_image_features` lays them out.

    First the P x P of the whole picture, then the rows of all tiles together without the bars, each with its newline.
    Raises as `Tiling.grid`.
    """
    rows, columns = tiling.grid(size)
    top, left = _bars(size, (rows * patches, columns * patches))
    row = np.arange(top, rows * patches - top)[:, None]
    column = np.arange(left, columns * patches - left)[None]
    view = 1 + row // patches * columns + column // patches
    patch = row % patches * patches + column % patches
    ended = [np.pad(part, ((0, 0), (0, 1)), constant_values=NEWLINE).ravel() for part in (view, patch)]
    whole = np.arange(patches * patches)
    return TileTokens(np.concatenate([0 * whole, ended[0]]), np.concatenate([whole, ended[1]]))


def _fit(size: Size, room: Size) -> Size:
    """A picture's (width, height) at the largest scale that fits into `room`, rounded up as in transformers."""
    (width, height), (most_width, most_height) = size, room
    scale_w, scale_h = most_width / width, most_height / height
    if scale_w < scale_h:
        return most_width, min(math.ceil(height * scale_w), most_height)
    return min(math.ceil(width * scale_h), most_width), most_height


def _bars(size: Size, grid: Size) -> Size:
    """Rows above (and below) and columns left (and right) of a picture on its grid of patches (`unpad_image`)."""
    (height, width), (rows, columns) = size, grid
    if width / height > columns / rows:
        return (rows - int(round(height * (columns / width), 7))) // 2, 0
    return 0, (columns - int(round(width * (rows / height), 7))) // 2
