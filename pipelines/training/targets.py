"""A term's cached teacher as the trainer sees it: checked against the run, read as codes, decoded on the device."""

import logging
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from pipelines.training.config import AlignConfig
from stores import FeatureStore, open_store
from viral.codecs import decode, device_tables
from viral.data.tiles import Tiling, tiling_of_store
from viral.data.tokens import ImageTokens
from viral.errors import CacheMismatchError
from viral.mllm.aligned import MAIN
from viral.objectives import get_objective
from viral.teachers import get_teacher
from viral.teachers.teacher import resample_tokens

log = logging.getLogger(__name__)
Decoder = Callable[[torch.Tensor], torch.Tensor]


def open_targets(cache: Path, config: AlignConfig, name: str = MAIN) -> FeatureStore:
    """Open a cache and make sure that it was made the way the term of this name wants.

    Raises:
        CacheMismatchError: another teacher or profile, a teacher with random weights, or targets without lengths
            for an objective that needs them.
        StoreError: no finished cache there.
    """
    store = open_store(cache)
    made, group = store.manifest.spec.fingerprint, name if name == MAIN else f"also.{name}"
    objective = get_objective(config.objective)
    found = {
        "teacher": made.get("teacher"),
        "profile": made.get("profile"),
        "weights": "random" if made.get("weights") == "random" else "pretrained",
    }
    wanted = {
        "teacher": get_teacher(config.resolved().teacher or "").name,
        "profile": config.profile,
        "weights": config.weights,
    }
    for field, value in wanted.items():
        if found[field] != value:
            raise CacheMismatchError(
                f"{cache} was built with {field}={found[field]}, this run wants {group}.{field}={value}; "
                f"set {group}.{field}={found[field]} or build another cache."
            )
    if objective and objective.needs_lengths and store.codec.tables:
        raise CacheMismatchError(
            f"{cache} keeps directions only (codec {store.manifest.spec.codec}), but {config.objective} needs lengths; "
            "build it with --codec fp16."
        )
    return store


def make_decoder(store: FeatureStore, device: torch.device, grid: tuple[int, int] | None = None) -> Decoder:
    """Codes [N, T, W] of this store, on `device` -> float32 targets [N, T, C], without gradient.

    On another grid than the store's, tokens are resampled bilinearly, as unit vectors: a codec may have kept no more
    than their directions.
    """
    tables = device_tables(store.tables, device)
    spec = store.manifest.spec
    if grid is not None and grid != spec.grid:
        log.info("teacher's grid of %d x %d resampled to the student's %d x %d", *spec.grid, *grid)

    def decoder(codes: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return resample(decode(spec.codec, codes, tables), spec.grid, grid or spec.grid)

    return decoder


def resample(features_NTC: torch.Tensor, old: tuple[int, int], new: tuple[int, int]) -> torch.Tensor:
    """Targets of one grid as directions on another; as they are, if the grid is the same."""
    return features_NTC if old == new else resample_tokens(F.normalize(features_NTC, dim=-1), old, new)


def check_geometry(
    store: FeatureStore, cache: Path, config: AlignConfig, image: ImageTokens, image_mode: str
) -> None:
    """Make sure that the targets show the same views of the picture, and can be brought onto the student's grid.

    Raises:
        CacheMismatchError: other tiles, or squares made in another way; another grid, and targets that cannot be
            resampled.
    """
    grid = image.grid
    check_tiles(store, cache, image.tiling)
    if image.tiling is None:
        check_square(store, cache, image_mode)
    objective, found = get_objective(config.objective), store.manifest.spec.grid
    if objective and objective.needs_lengths:
        refuse_resampling(str(cache), config.objective, found, grid)


def check_tiles(store: FeatureStore, cache: Path, tiling: Tiling | None) -> None:
    """Make sure that a cache was built of the views that the student is shown.

    Raises:
        CacheMismatchError: of other tiles, of none, or of tiles for a student that sees none.
    """
    made = tiling_of_store(store.manifest.spec.fingerprint)
    if made != tiling:
        built = f"the views of --tiles {made.label}" if made else "whole pictures"
        seen = f"those of --tiles {tiling.label}" if tiling else "whole ones"
        advice = f"with --tiles {tiling.label}" if tiling else "without --tiles"
        raise CacheMismatchError(
            f"{cache} was built of {built}, this student sees {seen}; build a cache {advice}."
        )


def check_square(store: FeatureStore, cache: Path, image_mode: str) -> None:
    """Make sure that a cache was built of the squares that the student is shown.

    Raises:
        CacheMismatchError: squares made in another way.
    """
    square = store.manifest.spec.fingerprint.get("square", "pad")
    if square != image_mode:
        raise CacheMismatchError(
            f"{cache} was built with square={square}, this run shows the student squares of data.image_mode="
            f"{image_mode}; build the cache with `--square {image_mode}`, or set data.image_mode={square}."
        )


def refuse_resampling(source: str, objective: str, found: tuple[int, int], grid: tuple[int, int]) -> None:
    """Make sure that targets whose length matters lie on the student's grid.

    Raises:
        CacheMismatchError: they do not; `source` says whose they are.
    """
    if found != grid:
        raise CacheMismatchError(
            f"{source} holds a {found[0]}x{found[1]} grid, the student's tower gives {grid[0]}x{grid[1]}, and targets "
            f"of {objective} cannot be resampled; build a cache of another size."
        )
