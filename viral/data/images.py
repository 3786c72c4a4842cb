"""The one image path: bytes -> RGB -> square -> normalised pixels, shared by teacher and student.

If teacher and student disagreed on any step here, their patch grids would look at different places.
"""

import hashlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from viral.data.image_source import ImageSource
from viral.data.statistics import CLIP_MEAN as CLIP_MEAN
from viral.data.statistics import CLIP_STD as CLIP_STD
from viral.data.statistics import IMAGENET_MEAN as IMAGENET_MEAN
from viral.data.statistics import IMAGENET_STD as IMAGENET_STD
from viral.errors import ConfigError, ImageError

MAX_SIDE = 16384
"""Of a padded square, in px; it then takes 0.8 GB. A file of a few bytes can ask for far more."""

SQUARE_MODES = ("pad", "crop")

Taken = TypeVar("Taken")


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelSpec:
    """How a model wants its pixels: square side in px, per-channel mean and std of [0, 1] values."""

    size: int
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD


def image_key(data: bytes) -> str:
    """What a cache record is filed under: SHA-256 of the image file's bytes, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def mean_fill(mean: tuple[float, float, float]) -> tuple[int, int, int]:
    """Colour of the padding bars, `int(255 * mean)` as LLaVA computes it: (122, 116, 104) for CLIP."""
    red, green, blue = (int(255 * channel) for channel in mean)
    return red, green, blue


def decode_image(source: ImageSource | bytes) -> Image.Image:
    """Decode by content, not by file name, into RGB.

    EXIF orientation is *not* applied: LLaVA's training and evaluation code does not apply it either,
    and teacher and student have to see the same picture.

    Raises:
        ImageError: missing file, not an image, truncated, or large enough to be a decompression bomb.
    """
    return _from_opened(source, lambda image: image.convert("RGB"))


def image_size(source: ImageSource | bytes) -> tuple[int, int]:
    """Height and width in px, without decoding; the first bytes of a file may be enough. Raises as `decode_image`."""
    return _from_opened(source, lambda image: (image.height, image.width))


def to_square(
    image: Image.Image,
    size: int,
    mode: str = "pad",
    fill: tuple[int, int, int] = mean_fill(CLIP_MEAN),
) -> np.ndarray:
    """Bring an RGB image to uint8 [size, size, 3].

    `pad` (training; LLaVA's evaluation): paste in the middle of a square of the longer side, then
    resize bicubically. `crop` (the VIRAL release's evaluation): resize the short side, cut the centre.

    Raises:
        ConfigError: unknown mode.
        ImageError: so long and thin that its padded square would not fit in memory.
    """
    if mode == "pad":
        square = _pad(image, fill).resize((size, size), Image.Resampling.BICUBIC)
    elif mode == "crop":
        square = _crop(image, size)
    else:
        raise ConfigError(f"Unknown image mode {mode!r}. Known: {', '.join(SQUARE_MODES)}.")
    return np.array(square)


def centre_square(image: Image.Image) -> Image.Image:
    """The largest square in the middle of a picture, in its own pixels."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def normalise(pixels_BHWC: np.ndarray | torch.Tensor, spec: PixelSpec) -> torch.Tensor:
    """uint8 [..., H, W, 3] -> float32 [..., 3, H, W] with the given statistics, on the device of the pixels."""
    scaled = torch.as_tensor(pixels_BHWC).float() / 255.0
    mean, std = (torch.tensor(values, device=scaled.device) for values in (spec.mean, spec.std))
    return ((scaled - mean) / std).movedim(-1, -3)


def _from_opened(source: ImageSource | bytes, take: Callable[[Image.Image], Taken]) -> Taken:
    try:
        data = source if isinstance(source, bytes) else source.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                return take(image)
    except FileNotFoundError as error:
        raise ImageError(f"no such file: {source!s}") from error
    except MemoryError:
        raise  # says nothing about the image
    except UnidentifiedImageError as error:
        raise ImageError("not a readable image: unknown format") from error  # Pillow names an address here
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ImageError(f"refused as a decompression bomb: {error}") from error
    except (
        Exception
    ) as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, EOFError, struct.error ...
        raise ImageError(f"not a readable image: {type(error).__name__}: {error}") from error


def _pad(image: Image.Image, fill: tuple[int, int, int]) -> Image.Image:
    width, height = image.size
    if width == height:
        return image
    side = max(width, height)
    if side > MAX_SIDE:
        raise ImageError(f"refused: {width} x {height} pixels would be padded to a square of side {side}")
    canvas = Image.new("RGB", (side, side), fill)
    canvas.paste(image, ((side - width) // 2, (side - height) // 2))
    return canvas


def _crop(image: Image.Image, size: int) -> Image.Image:
    width, height = image.size
    short = min(width, height)
    width, height = int(size * width / short), int(size * height / short)
    left, top = (width - size) // 2, (height - size) // 2
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    return resized.crop((left, top, left + size, top + size))
