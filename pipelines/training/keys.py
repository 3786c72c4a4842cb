"""What a cache calls the images of a run, settled before the first step and with as little reading as possible."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pipelines.hash_cache import HashCache
from pipelines.hash_images import content_keys, path_keys
from stores import load_plan
from stores.layout import HASHES
from stores.parts import finished_parts
from viral.data.image_files import ImageFiles
from viral.data.keys import PATH_AND_SIZE
from viral.data.tiles import tiling_of_store, view_key


class ImageKeys(NamedTuple):
    """What is known of the images that were asked for."""

    keys: dict[str, str]
    """By name; of view 0 of a tiled picture."""
    unusable: dict[str, str]
    """Reason by name of those that could not be used when the cache was planned."""


def image_keys(cache: Path, names: Sequence[str], files: ImageFiles) -> ImageKeys:
    """Key in `cache` of each of `names`; one that its plan does not know and that cannot be read has none.

    Names that the plan does not know (copies, renamed files) are hashed, once: the cache remembers.

    Raises:
        DataError: a damaged tar file.
    """
    plans = [load_plan(root) for root in (cache, *finished_parts(cache))]
    planned: dict[str, str] = {}
    for plan in reversed(plans):  # of a file that has changed, the newest record
        for path, key in zip(plan.paths, plan.keys, strict=True):
            planned.setdefault(path, key)  # of its first view, where pictures are tiled
    rejected = {reject.path: reject.reason for plan in plans for reject in plan.rejects}
    keys = {name: planned[name] for name in names if name in planned}
    unknown = [name for name in names if name not in keys]
    with HashCache(cache / HASHES) as hashes:
        by_path = plans[0].spec.fingerprint.get("keys") == PATH_AND_SIZE
        found = path_keys(files, unknown) if by_path else content_keys(files, unknown, hashes)
        new = {hashed.name: hashed.key for hashed in found if isinstance(hashed.key, str)}
    is_tiled = tiling_of_store(plans[0].spec.fingerprint) is not None
    keys |= {name: view_key(key, 0) if is_tiled else key for name, key in new.items()}
    return ImageKeys(
        keys, {name: rejected[name] for name in unknown if name in rejected and name not in keys}
    )
