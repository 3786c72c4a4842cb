"""Show a cached image: each square the teacher saw beside the PCA of its cached features."""

from pathlib import Path

import numpy as np
from PIL import Image

from stores import FeatureStore, open_store
from stores.errors import FingerprintError
from stores.publish import publish
from viral.analysis.pca import pca_pictures
from viral.data.images import decode_image, to_square
from viral.data.keys import key_function
from viral.data.tiles import resize_views, tiling_of_store, view_key
from viral.errors import ImageError
from viral.teachers.teacher import SQUARE_MODE


def show_image(root: Path, image: Path, out: Path) -> None:
    """Write a PNG: left the square picture, right one colour per patch; below them the tiles, if there are any.

    Raises:
        ImageError: no such image, or not a readable one.
        StoreError: no finished store, or the image is not in it.
    """
    store = open_store(root)
    try:
        data = image.read_bytes()
    except OSError as error:
        raise ImageError(
            f"Cannot read {image}: {error.strerror}. Give an image file with --image."
        ) from error
    spec = store.manifest.spec
    if "image_size" not in spec.fingerprint:
        raise FingerprintError(
            f"{root} does not say what its teacher saw (no image_size); it cannot be drawn."
        )
    side = int(spec.fingerprint["image_size"])
    decoded, tiling = decode_image(data), tiling_of_store(spec.fingerprint)
    squares = (
        resize_views(tiling.views(decoded), side) if tiling else to_square(decoded, side, SQUARE_MODE)[None]
    )
    codes_NTW = store.read_many(_find_keys(store, image, data, len(squares) if tiling else None))
    pictures = pca_pictures(list(store.codec.decode(codes_NTW, store.tables)), spec.grid)
    patches = [Image.fromarray(each).resize((side, side), Image.Resampling.NEAREST) for each in pictures]
    rows = [np.hstack([square, np.asarray(each)]) for square, each in zip(squares, patches, strict=True)]
    with publish(out) as partial:
        Image.fromarray(np.vstack(rows)).save(partial, format="PNG")


def _find_keys(store: FeatureStore, image: Path, data: bytes, num_views: int | None) -> list[str]:
    """Key of an image, or of its views; it may be filed under any tail of its path, for nobody named the image root."""
    key_of = key_function(store.manifest.spec.fingerprint)
    parts = image.resolve().parts[1:]
    images = [key_of("/".join(parts[start:]), data) for start in range(len(parts))]
    keys = [
        [key] if num_views is None else [view_key(key, view) for view in range(num_views)] for key in images
    ]
    return next((each for each in keys if each[0] in store), keys[-1])
