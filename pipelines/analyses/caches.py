"""A teacher's cached features beside the student's own, picture by picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipelines.analyses.job import parse_labelled
from pipelines.training.inputs import describe_cache
from pipelines.training.targets import check_square, make_decoder
from stores import FeatureStore, open_store
from viral.data.image_source import ImageSource
from viral.data.keys import key_function
from viral.mllm.student import Student


@dataclass(frozen=True, slots=True)
class CachedFeatures:
    """An open cache and what figures call it."""

    label: str
    path: Path
    store: FeatureStore

    def describe(self) -> dict[str, Any]:
        """What made it, as JSON values."""
        return describe_cache(self.path, self.store)

    def check(self, image_mode: str) -> None:
        """Make sure that its teacher saw the square that the student is shown.

        Raises:
            CacheMismatchError: it saw another.
        """
        check_square(self.store, self.path, image_mode)

    def features(self, image: ImageSource, student: Student) -> torch.Tensor:
        """float32 features [T, C] of one picture on the student's grid and device.

        Raises:
            UnknownKeyError, RejectedImageError: the cache was built without this picture.
        """
        key = key_function(self.store.manifest.spec.fingerprint)(str(image), image.read_bytes())
        codes_1TW = torch.from_numpy(self.store.read_many([key])).to(student.model.device)
        features_1TC: torch.Tensor = make_decoder(self.store, student.model.device, student.image.grid)(
            codes_1TW
        )
        return features_1TC[0]


def open_caches(arguments: Sequence[str] | None) -> tuple[CachedFeatures, ...]:
    """The caches of `[LABEL=]PATH` arguments.

    Raises:
        ConfigError: two of one label.
        StoreError: no finished cache there.
    """
    found = parse_labelled(arguments or [], "--cache")
    return tuple(
        CachedFeatures(cache.label, Path(cache.path), open_store(Path(cache.path))) for cache in found
    )
