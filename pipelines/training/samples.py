"""Which samples a run can use, and what to say about the others; settled before the first step."""

import logging
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from pipelines.training.config import DataConfig
from pipelines.training.keys import image_keys
from stores import FeatureStore
from viral.data.conversation import get_template
from viral.data.dataset import Encoding
from viral.data.image_files import ImageFiles, reject_reason
from viral.data.index import AnnotationIndex
from viral.data.tiles import tiling_of_store
from viral.data.tokens import check_end_token
from viral.errors import CacheMismatchError, ConfigError, DataError, ImageError, WeightsError
from viral.mllm.student import Student

log = logging.getLogger(__name__)
LOOKUP_THREADS = 16


def usable_samples(
    samples: AnnotationIndex,
    config: DataConfig,
    caches: Mapping[str, tuple[Path, FeatureStore]],
    *,
    need_files: bool = True,
) -> tuple[AnnotationIndex, dict[str, dict[str, str]]]:
    """Samples all of whose images have records in every cache; and for each cache, its keys by image name.

    Unless `need_files`, images may be absent that every cache knows.

    Raises:
        ConfigError: `data.on_bad_image=skip` without a cache, which alone knows what cannot be decoded.
        DataError: there are unusable images and `data.on_bad_image=error`, or a tar file is damaged.
        CacheMismatchError: a cache was built without some of the images.
    """
    if config.on_bad_image == "skip" and not caches:
        raise ConfigError(
            "data.on_bad_image=skip needs --cache: its list of rejects says which images cannot be decoded."
        )
    files, names = ImageFiles(config.images), sorted(samples.image_names())
    problems = _unusable(files, names) if need_files else {}
    keys = {}
    for name, (path, store) in caches.items():
        usable = [image for image in names if image not in problems]
        keys[name], rejected = _look_up(files, usable, path, store)
        problems |= rejected
    if not problems:
        return samples, keys
    if config.on_bad_image == "error":
        name, reason = min(problems.items())
        raise DataError(
            f"{len(problems)} images cannot be used, first {name!r}: {reason}. "
            "Fix them, or set data.on_bad_image=skip."
        )
    kept = samples.without_images(problems)
    log.warning("left out %d samples with %d unusable images", len(samples) - len(kept), len(problems))
    return kept, keys


def sample_lengths(samples: AnnotationIndex, image_tokens: int) -> np.ndarray:
    """Length [N] of each sample as sampling counts it: words, as LLaVA does, and the tokens of all images but one.

    LLaVA compares samples of one modality only, whose one image makes no difference.
    """
    return samples.num_words + image_tokens * np.maximum(samples.num_images - 1, 0)


def build_encoding(config: DataConfig, student: Student) -> Encoding:
    """How samples become tensors for this student.

    Raises:
        ConfigError: the template does not belong to the student's tokenizer.
        WeightsError: the tokenizer pads with a token the student does not have.
    """
    tokenizer, template = student.tokenizer, get_template(config.template)
    vocab_size = student.model.get_input_embeddings().num_embeddings
    check_end_token(tokenizer, template)
    if tokenizer.pad_token_id >= vocab_size:
        raise WeightsError(
            f"the tokenizer pads with token {tokenizer.pad_token_id} ({tokenizer.pad_token!r}), the model has "
            f"{vocab_size} embeddings; the tokenizer belongs to another model."
        )
    return Encoding(
        tokenizer=tokenizer,
        template=template,
        image=student.image,
        pixels=student.pixels,
        max_length=config.max_length,
        vocab_size=vocab_size,
        image_mode=config.image_mode,
        supervise_last_end=config.supervise_last_end,
        drop_cut_images=config.on_cut_image == "drop",
    )


def _unusable(files: ImageFiles, names: list[str]) -> dict[str, str]:
    """Reasons by image name. In threads: on a network disk each look-up waits for an answer."""
    with ThreadPoolExecutor(LOOKUP_THREADS) as pool:
        reasons = pool.map(partial(_problem, files), names)
        return {name: reason for name, reason in zip(names, reasons, strict=True) if reason}


def _problem(files: ImageFiles, name: str) -> str | None:
    try:
        path = files.locate(name).path
    except (ImageError, OSError) as error:
        return reject_reason(error)
    return None if os.access(path, os.R_OK) else "no permission to read it"


def _look_up(
    files: ImageFiles, names: list[str], cache: Path, store: FeatureStore
) -> tuple[dict[str, str], dict[str, str]]:
    """Keys by image name, and reasons of those without a record."""
    keys, unusable = image_keys(cache, names, files)
    unusable |= {name: store.rejects[key] for name, key in keys.items() if key in store.rejects}
    absent = [name for name in names if name not in unusable and keys.get(name) not in store]
    if absent:
        raise CacheMismatchError(
            f"{cache} lacks {len(absent)} of {len(names)} images, first {', '.join(absent[:5])}; "
            f"build a cache of this data with `viral cache build{_like(store)} --data ... --images ...`."
        )
    return keys, unusable


def _like(store: FeatureStore) -> str:
    """Options that name the teacher of a store, if it says who that was."""
    made = store.manifest.spec.fingerprint
    tiling = tiling_of_store(made)
    tiles = f" --tiles {tiling.label}" if tiling else ""
    return f" --vfm {made['teacher']}{tiles}" if "teacher" in made else ""
