"""Pictures inside the page, as data URLs that are no larger than they need to be."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from viral.data.image_source import ImageSource
from viral.data.images import decode_image

THUMBNAIL, FIGURE = 256, 1600
"""Longest sides in px."""
LARGE = 400_000
"""Bytes above which a drawn figure is shown as its picture of pixels instead."""
FORMATS = {"PNG": "png", "JPEG": "jpeg", "WEBP": "webp"}


def lossless(picture: np.ndarray) -> str:
    """uint8 [h, w, 3] as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", optimize=True)
    return data_url("png", buffer.getvalue())


def thumbnail(source: ImageSource) -> str:
    """A small WebP of a whole picture.

    Raises:
        ImageError: it is missing or cannot be decoded.
    """
    return data_url("webp", _small(decode_image(source), THUMBNAIL, quality=70))


def figure(path: Path) -> tuple[str, int, int]:
    """An analysis' PNG, JPEG or WebP: its URL, and width and height in px; a vector twin beside it is preferred.

    Raises:
        ImageError: it is missing or cannot be decoded.
    """
    image = decode_image(path.with_suffix(".png") if path.suffix == ".svg" else path)
    vector = path.with_suffix(".svg")
    if vector.is_file() and vector.stat().st_size <= LARGE:
        return data_url("svg+xml", vector.read_bytes()), *image.size
    small = _small(image, FIGURE, quality=85)
    width, height = image.size
    factor = min(1.0, FIGURE / max(image.size))
    return data_url("webp", small), round(width * factor), round(height * factor)


def data_url(kind: str, data: bytes) -> str:
    """`data` as image/`kind` inside a URL."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _small(image: Image.Image, side: int, quality: int) -> bytes:
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=quality)
    return buffer.getvalue()
