"""The cached teacher as the trainer sees it: checked against the run, read as codes, decoded on the device."""

from collections.abc import Callable
from pathlib import Path

import torch

from pipelines.training.config import AlignConfig
from stores import FeatureStore, open_store
from viral.codecs import decode, device_tables
from viral.errors import CacheMismatchError
from viral.teachers import get_teacher

Decoder = Callable[[torch.Tensor], torch.Tensor]


def open_targets(cache: Path, config: AlignConfig) -> FeatureStore:
    """Open a cache and make sure it was made the way this run wants.

    Raises:
        CacheMismatchError: another teacher or profile, or a teacher with random weights.
        StoreError: no finished cache there.
    """
    store = open_store(cache)
    made = store.manifest.spec.fingerprint
    found = {
        "teacher": made.get("teacher"),
        "profile": made.get("profile"),
        "weights": "random" if made.get("weights") == "random" else "pretrained",
    }
    wanted = {
        "teacher": get_teacher(config.teacher).name,
        "profile": config.profile,
        "weights": config.weights,
    }
    for field, value in wanted.items():
        if found[field] != value:
            raise CacheMismatchError(
                f"{cache} was built with {field}={found[field]}, this run wants align.{field}={value}; "
                f"set align.{field}={found[field]} or build another cache."
            )
    return store


def check_geometry(store: FeatureStore, cache: Path, num_tokens: int, image_mode: str) -> None:
    """Make sure the cache has one feature for each visual token, of the same part of the picture.

    Raises:
        CacheMismatchError: another grid than the student's tower, or squares made in another way.
    """
    square = store.manifest.spec.fingerprint.get("square", "pad")
    if square != image_mode:
        raise CacheMismatchError(
            f"{cache} was built with square={square}, this run shows the student squares of data.image_mode="
            f"{image_mode}; set data.image_mode={square}."
        )
    rows, columns = store.manifest.spec.grid
    if rows * columns != num_tokens:
        raise CacheMismatchError(
            f"{cache} holds a {rows}x{columns} grid ({rows * columns} tokens an image), the student's tower gives "
            f"{num_tokens}; build a cache for this tower, or train the tower it was built for."
        )


def make_decoder(store: FeatureStore, device: torch.device) -> Decoder:
    """Codes [N, T, W] of this store, on `device` -> float32 targets [N, T, C], without gradient."""
    tables = device_tables(store.tables, device)
    codec = store.manifest.spec.codec

    def decoder(codes: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return decode(codec, codes, tables)

    return decoder
