"""Which samples a run can use, and what to say about the others; settled before the first step."""

import logging
import os
from pathlib import Path

from pipelines.training.config import DataConfig
from stores import FeatureStore, load_plan
from viral.data.annotations import Sample, resolve_image
from viral.data.dataset import read_image_bytes
from viral.data.keys import key_function
from viral.errors import CacheMismatchError, ConfigError, DataError, ImageError

log = logging.getLogger(__name__)


def usable_samples(
    samples: list[Sample], config: DataConfig, cache: Path | None, store: FeatureStore | None
) -> list[Sample]:
    """Samples whose image is there and, with a cache, has a record in it.

    Raises:
        ConfigError: `data.on_bad_image=skip` without a cache, which alone knows what cannot be decoded.
        DataError: there are unusable images and `data.on_bad_image=error`.
        CacheMismatchError: the cache was built without some of the images.
    """
    if config.on_bad_image == "skip" and cache is None:
        raise ConfigError(
            "data.on_bad_image=skip needs --cache: its list of rejects says which images cannot be decoded."
        )
    names = sorted({sample.image for sample in samples if sample.image is not None})
    problems = {name: reason for name in names if (reason := _missing(config.images, name))}
    if cache is not None and store is not None:
        problems |= _rejected(config.images, [name for name in names if name not in problems], cache, store)
    if not problems:
        return samples
    if config.on_bad_image == "error":
        name, reason = min(problems.items())
        raise DataError(
            f"{len(problems)} images cannot be used, first {name!r}: {reason}. "
            "Fix them, or set data.on_bad_image=skip."
        )
    kept = [sample for sample in samples if sample.image not in problems]
    log.warning("left out %d samples with %d unusable images", len(samples) - len(kept), len(problems))
    return kept


def _missing(root: Path, name: str) -> str | None:
    try:
        path = resolve_image(root, name)
        if not path.is_file():
            return f"no such file under {root}"
        return None if os.access(path, os.R_OK) else "no permission to read it"
    except (ImageError, ValueError, OSError, RuntimeError) as error:  # a null byte, a loop of links
        return str(error)


def _rejected(root: Path, names: list[str], cache: Path, store: FeatureStore) -> dict[str, str]:
    """Reasons by image name. Only names the plan does not know (copies, renamed files) have to be hashed."""
    plan = load_plan(cache)
    planned = dict(zip(plan.paths, plan.keys, strict=True))
    key_of = key_function(plan.spec.fingerprint)
    rejected, absent = {}, []
    for name in names:
        key = planned.get(name) or key_of(name, read_image_bytes(root, name))
        if key in store.rejects:
            rejected[name] = store.rejects[key]
        elif key not in store:
            absent.append(name)
    if absent:
        raise CacheMismatchError(
            f"{cache} lacks {len(absent)} of {len(names)} images, first {', '.join(absent[:5])}; "
            "build a cache of this data with `viral cache build --data ... --images ...`."
        )
    return rejected
