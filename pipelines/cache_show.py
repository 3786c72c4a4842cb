"""Show a cached image: the square the teacher saw beside the PCA of its cached features."""

from pathlib import Path

import numpy as np
from PIL import Image

from stores import FeatureStore, open_store
from stores.errors import FingerprintError
from stores.publish import publish
from viral.analysis.pca import pca_pictures
from viral.data.images import decode_image, to_square
from viral.data.keys import key_function
from viral.errors import ImageError
from viral.teachers.teacher import SQUARE_MODE


def show_image(root: Path, image: Path, out: Path) -> None:
    """Write a PNG: left the square picture, right one colour per patch.

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
    codes_1TD = store.read_many([_find_key(store, image, data)])
    spec = store.manifest.spec
    features_1TD = store.codec.decode(codes_1TD, store.tables)
    (colours,) = pca_pictures([features_1TD[0]], spec.grid)
    if "image_size" not in spec.fingerprint:
        raise FingerprintError(
            f"{root} does not say what its teacher saw (no image_size); it cannot be drawn."
        )
    side = int(spec.fingerprint["image_size"])
    square = to_square(decode_image(data), side, spec.fingerprint.get("square", SQUARE_MODE))
    patches = Image.fromarray(colours).resize((side, side), Image.Resampling.NEAREST)
    both = Image.fromarray(np.hstack([square, np.asarray(patches)]))
    with publish(out) as partial:
        both.save(partial, format="PNG")


def _find_key(store: FeatureStore, image: Path, data: bytes) -> str:
    """Key of an image, which may be filed under any tail of its path: nobody has said where the image root is."""
    key_of = key_function(store.manifest.spec.fingerprint)
    parts = image.resolve().parts[1:]
    keys = [key_of("/".join(parts[start:]), data) for start in range(len(parts))]
    return next((key for key in keys if key in store), keys[-1])
