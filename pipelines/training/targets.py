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


def open_targets(cache: Path, config: AlignConfig, num_tokens: int) -> FeatureStore:
    """Open a cache and make sure it holds what this run aligns to.

    Raises:
        CacheMismatchError: another teacher, another profile, or another grid than the student's tower.
        StoreError: no finished cache there.
    """
    store = open_store(cache)
    spec = store.manifest.spec
    expected = {"teacher": get_teacher(config.teacher).name, "profile": config.profile}
    for field, value in expected.items():
        found = spec.fingerprint.get(field)
        if found != value:
            raise CacheMismatchError(
                f"{cache} was built with {field}={found}, this run wants align.{field}={value}; "
                f"set align.{field}={found} or build another cache."
            )
    rows, columns = spec.grid
    if rows * columns != num_tokens:
        raise CacheMismatchError(
            f"{cache} holds a {rows}x{columns} grid ({rows * columns} tokens an image), the student's tower gives "
            f"{num_tokens}; build a cache for this tower, or train the tower it was built for."
        )
    return store


def make_decoder(store: FeatureStore, device: torch.device) -> Decoder:
    """Codes [N, T, W] of this store -> float32 targets [N, T, C] on the device, without gradient."""
    tables = device_tables(store.tables, device)
    codec = store.manifest.spec.codec

    def decoder(codes: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return decode(codec, codes.to(device, non_blocking=True), tables)

    return decoder
