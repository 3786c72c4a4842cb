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
    tiling, key = tiling_of_store(spec.fingerprint), _find_key(store, image, data)
    codes = [store.read(view_key(key, 0) if tiling else key)]
    if "image_size" not in spec.fingerprint:
        raise FingerprintError(
            f"{root} does not say what its teacher saw (no image_size); it cannot be drawn."
        )
    side, decoded = int(spec.fingerprint["image_size"]), decode_image(data)
    if tiling:
        squares = resize_views(tiling.views(decoded), side)
        codes += [store.read(view_key(key, view)) for view in range(1, len(squares))]
    else:
        squares = to_square(decoded, side, spec.fingerprint.get("square", SQUARE_MODE))[None]
    pictures = pca_pictures(list(store.codec.decode(np.stack(codes), store.tables)), spec.grid)
    patches = [Image.fromarray(each).resize((side, side), Image.Resampling.NEAREST) for each in pictures]
    rows = [np.hstack([square, np.asarray(each)]) for square, each in zip(squares, patches, strict=True)]
    with publish(out) as partial:
        Image.fromarray(np.vstack(rows)).save(partial, format="PNG")


def _find_key(store: FeatureStore, image: Path, data: bytes) -> str:
    """Key of an image, which may be filed under any tail of its path: nobody has said where the image root is."""
    key_of = key_function(store.manifest.spec.fingerprint)
    parts = image.resolve().parts[1:]
    keys = [key_of("/".join(parts[start:]), data) for start in range(len(parts))]
    return next((key for key in keys if key in store or view_key(key, 0) in store), keys[-1])
