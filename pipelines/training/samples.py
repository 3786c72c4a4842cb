"""Which samples a run can use, and what to say about the others."""

import hashlib
import logging
from pathlib import Path

from pipelines.training.config import DataConfig
from stores import FeatureStore, load_plan
from viral.data.annotations import Sample, resolve_image
from viral.errors import DataError, ImageError

log = logging.getLogger(__name__)


def usable_samples(
    samples: list[Sample], config: DataConfig, cache: Path | None, store: FeatureStore | None
) -> list[Sample]:
    """Samples whose image is there and, with a cache, was not rejected by it.

    Raises:
        DataError: there are unusable images and `data.on_bad_image=error`.
    """
    names = sorted({sample.image for sample in samples if sample.image is not None})
    problems = {name: reason for name in names if (reason := _missing(config.images, name))}
    if cache is not None and store is not None and store.rejects:
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
        return None if resolve_image(root, name).is_file() else f"no such file under {root}"
    except ImageError as error:
        return str(error)


def _rejected(root: Path, names: list[str], cache: Path, store: FeatureStore) -> dict[str, str]:
    """Reasons by image name. Only files as long as a rejected one can have its content, so few are hashed."""
    plan = load_plan(cache)
    lengths = {
        path.stat().st_size
        for key, name in zip(plan.keys, plan.paths, strict=True)
        if key in store.rejects and (path := root / name).is_file()
    }
    found = {}
    for name in names:
        path = resolve_image(root, name)
        if path.stat().st_size in lengths:
            key = hashlib.sha256(path.read_bytes()).hexdigest()
            if key in store.rejects:
                found[name] = store.rejects[key]
    return found
