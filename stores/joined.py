"""Several stores of one kind read as one: a store and the parts that were appended to it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from stores.codecs import Codec
from stores.feature_store import FeatureStore
from stores.manifest import Manifest
from stores.report import weighted_cosine


def join_manifests(manifests: Sequence[Manifest]) -> Manifest:
    """The first manifest, with the counts and cosines of all."""
    cosine = weighted_cosine([(manifest.num_records, manifest.cosine) for manifest in manifests])
    assert cosine is not None
    return replace(
        manifests[0],
        num_images=sum(manifest.num_images for manifest in manifests),
        num_records=sum(manifest.num_records for manifest in manifests),
        num_rejects=sum(manifest.num_rejects for manifest in manifests),
        cosine=cosine,
    )


class JoinedStore:
    """`FeatureStore` of stores with the same spec and tables, and no image in common."""

    def __init__(self, members: Sequence[FeatureStore]) -> None:
        self._members = tuple(members)

    @cached_property
    def manifest(self) -> Manifest:
        """The first member's, with the counts and cosines of all."""
        return join_manifests([member.manifest for member in self._members])

    @property
    def codec(self) -> Codec:
        """How to decode its records."""
        return self._members[0].codec

    @property
    def tables(self) -> Mapping[str, npt.NDArray[Any]]:
        """What the codec needs to decode."""
        return self._members[0].tables

    @cached_property
    def rejects(self) -> Mapping[str, str]:
        """Key -> reason of the images that are known but have no record."""
        return {key: reason for member in self._members for key, reason in member.rejects.items()}

    def __len__(self) -> int:
        return sum(map(len, self._members))

    def __contains__(self, key: object) -> bool:
        return any(key in member for member in self._members)

    def keys(self) -> Iterator[str]:
        """Keys that have a record, oldest member first."""
        return chain.from_iterable(member.keys() for member in self._members)

    def read(self, key: str) -> npt.NDArray[Any]:
        """Codes [T, W] of one image; raises like `ShardedStore.read`."""
        return self._member(key).read(key)

    def read_many(self, keys: Sequence[str]) -> npt.NDArray[Any]:
        """Codes [n, T, W] of several images, in the order of `keys`; raises like `read`."""
        spec = self.manifest.spec
        codes_nTW = np.empty((len(keys), *spec.record_shape), spec.codes_dtype)
        places: dict[FeatureStore, list[int]] = {}
        for place, key in enumerate(keys):
            places.setdefault(self._member(key), []).append(place)
        for member, here in places.items():
            codes_nTW[here] = member.read_many([keys[place] for place in here])
        return codes_nTW

    def _member(self, key: str) -> FeatureStore:
        """The one that knows the image; the first, to refuse it, where none does."""
        known = (member for member in self._members if key in member or key in member.rejects)
        return next(known, self._members[0])
