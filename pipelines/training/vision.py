"""Features of the student's frozen tower from a cache: training then needs neither the tower nor the images."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pipelines.training.config import DTYPES, TrainConfig
from pipelines.training.inputs import describe_cache
from pipelines.training.targets import Decoder, check_square, check_tiles, make_decoder
from stores import FeatureStore, open_store
from viral.data.images import mean_fill
from viral.data.picture import KnownTarget
from viral.errors import CacheMismatchError
from viral.mllm.student import Student, image_tokens, tower_of
from viral.mllm.towers import needed_tensors, tower_sizes
from viral.teachers.teacher import hash_tensors

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration

log = logging.getLogger(__name__)
TEACHERS = ("tower", "clip-l-336")
"""Who makes features as a student's tower does."""
EXACT = {("bfloat16", "bf16"), ("float16", "fp16")}
"""(arithmetic of the tower, codec) that lose nothing."""


@dataclass(frozen=True, slots=True)
class VisionCache:
    """A finished store of the tower's features."""

    path: Path
    store: FeatureStore

    def source(self, keys: Mapping[str, str]) -> KnownTarget:
        """How the dataset reads it."""
        return KnownTarget(self.store, keys)

    def take_over(self, student: Student) -> None:
        """Make sure that the features are those of the student's tower, then take the tower out of the model.

        Raises:
            CacheMismatchError: another tower, or other pixels.
        """
        core, tower, pixels = student.model.model, tower_of(student.model), student.pixels
        self.check_architecture(student.model)
        self._require(
            {
                "mean": tuple(pixels.mean),
                "std": tuple(pixels.std),
                "fill": mean_fill(pixels.mean),
                "weights_sha256": hash_tensors(needed_tensors(core, tower)),
            }
        )
        spared = sum(parameter.numel() for parameter in core.vision_tower.parameters())
        core.vision_tower = None
        log.info(
            "the tower's features come from %s: no tower (%.1f M parameters), no images",
            self.path,
            spared / 1e6,
        )

    def decoder(self, device: torch.device, dtype: torch.dtype) -> Decoder:
        """Codes [N, T, W] on the device -> features [N, T, V] in the tower's precision."""
        decode = make_decoder(self.store, device)
        return lambda codes: decode(codes).to(dtype)

    def describe(self) -> dict[str, Any]:
        """For the record of the run's inputs."""
        return describe_cache(self.path, self.store)

    def check_architecture(self, model: "LlavaForConditionalGeneration") -> None:
        """Make sure of what a model's configuration says of its tower.

        Raises:
            CacheMismatchError: another tower.
        """
        sizes = tower_sizes(model.config.vision_config)
        self._require(
            {
                "grid": image_tokens(model).grid,
                "layer": model.config.vision_feature_layer,
                "architecture": tower_of(model).class_name,
                **sizes,
            }
        )

    def _require(self, wanted: Mapping[str, Any]) -> None:
        import transformers

        made = self.store.manifest.spec.fingerprint
        tower_config = getattr(transformers, str(made.get("transformers_id"))).config_class
        found = {
            "grid": self.store.manifest.spec.grid,
            "layer": made.get("layer"),
            "architecture": made.get("transformers_id"),
            **tower_sizes(tower_config(**made.get("transformers_kwargs", {}))),
            **{name: tuple(made.get(name, ())) for name in ("mean", "std", "fill")},
            "weights_sha256": made.get("weights_sha256"),
        }
        for field, value in wanted.items():
            if found[field] != value:
                raise CacheMismatchError(
                    f"{self.path} is not of this student's tower: built with {field}={found[field]}, the student has "
                    f"{value}; build it with `viral cache build --vfm tower --weights TOWER --codec bf16`, TOWER being "
                    "model.llava or model.tower of this run."
                )


def open_vision(path: Path, config: TrainConfig) -> VisionCache:
    """Open a vision cache and check what can be said before the student is loaded.

    Raises:
        CacheMismatchError: another teacher, an inexact codec, or another precision or kind of square than the run's.
        StoreError: no finished cache there.
    """
    store = open_store(path)
    spec = store.manifest.spec
    made, dtype = spec.fingerprint, DTYPES[config.precision]
    if made.get("teacher") not in TEACHERS:
        raise CacheMismatchError(
            f"{path} was built with teacher={made.get('teacher')}, --vision-cache needs the student's own tower; "
            "build it with `viral cache build --vfm tower --weights TOWER --codec bf16`."
        )
    if store.codec.tables:
        raise CacheMismatchError(
            f"{path} holds directions only (codec {spec.codec}), but a student sees the length of its features, too; "
            "build the vision cache with --codec bf16 (or fp16)."
        )
    if made.get("dtype") != dtype:
        raise CacheMismatchError(
            f"{path} was built with dtype={made.get('dtype')}, with precision={config.precision} the tower computes in "
            f"{dtype}; build the vision cache with --dtype {dtype}, or change precision."
        )
    check_tiles(store, path, None)
    check_square(store, path, config.data.image_mode)
    if (dtype, spec.codec) not in EXACT:
        log.warning(
            "vision cache: %s features in codec %s are rounded, so losses differ slightly from those of pixels; "
            "precision=bf16 with --codec bf16 is exact", dtype, spec.codec,
        )  # fmt: skip
    return VisionCache(path, store)
