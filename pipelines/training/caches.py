"""Which cache belongs to which term of a run."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipelines.training.align_config import TOWER, AlignConfig
from pipelines.training.inputs import describe_cache
from pipelines.training.targets import Decoder, make_decoder, open_targets
from stores import FeatureStore, open_store
from viral.data.keys import key_function
from viral.data.picture import KnownTarget, Target
from viral.data.tiles import tiling_of_store
from viral.errors import ConfigError
from viral.mllm.aligned import MAIN
from viral.objectives import get_objective
from viral.teachers import get_teacher

Caches = Path | Mapping[str, Path] | None
"""Where the caches are: that of the main term, or of several by name."""


@dataclass(frozen=True, slots=True)
class CachedTeacher:
    """A cache, and whether its records are targets or it only says which images cannot be used."""

    path: Path
    store: FeatureStore
    is_target: bool

    @property
    def dim(self) -> int:
        """Channels of a target."""
        return self.store.manifest.spec.dim

    @property
    def kappa(self) -> float:
        """What the codec leaves of the cosine."""
        return self.store.manifest.kappa

    @property
    def record_bytes(self) -> int:
        """Of one image's codes."""
        return self.store.manifest.spec.record_bytes

    def source(self, keys: Mapping[str, str] | None = None) -> Target | KnownTarget:
        """How the dataset reads its codes: by the image's bytes, or by its name where `keys` are known."""
        if keys is not None:
            return KnownTarget(self.store, keys)
        made = self.store.manifest.spec.fingerprint
        return Target(self.store, key_function(made), tiling_of_store(made))

    def decoder(self, device: torch.device, grid: tuple[int, int]) -> Decoder:
        """Codes [N, T, W] on the device -> float32 targets [N, T, C] on the student's grid."""
        return make_decoder(self.store, device, grid)

    def describe(self) -> dict[str, Any]:
        """For the record of the run's inputs."""
        return describe_cache(self.path, self.store)


def parse_caches(arguments: Sequence[str]) -> dict[str, Path]:
    """`["caches/dinov2", "sam=caches/sam-b"]` -> the main term's cache and those of others, by name.

    Raises:
        ConfigError: two caches for one term.
    """
    caches: dict[str, Path] = {}
    for argument in arguments:
        named = re.fullmatch(r"([a-z][a-z0-9_-]*)=(.+)", argument)
        name, path = named.groups() if named else (MAIN, argument)
        if name in caches:
            raise ConfigError(
                f"Two caches for one term: --cache {argument}; give those of others as NAME=PATH."
            )
        caches[name] = Path(path)
    return caches


def open_caches(caches: Caches, terms: Mapping[str, AlignConfig]) -> dict[str, CachedTeacher]:
    """Open the caches of these terms, the main one's first.

    Raises:
        ConfigError: a term has no cache, or a cache no term.
        CacheMismatchError: another teacher or profile, or a teacher with random weights.
        StoreError: no finished cache there.
    """
    paths = {MAIN: caches} if isinstance(caches, Path) else dict(caches or {})
    needing = {name for name, term in terms.items() if needs_cache(term)}
    for name in sorted(needing - paths.keys()):
        group, option = (name, "PATH") if name == MAIN else (f"also.{name}", f"{name}=PATH")
        raise ConfigError(
            f"{group}.objective={terms[name].objective} needs cached targets; give --cache {option} "
            f"(made by `viral cache build`), or set {group}.online=true or {group}.objective=none."
        )
    for name in sorted(paths.keys() - needing - {MAIN}):
        raise ConfigError(
            f"--cache {name}=... is of no use: terms with a cached teacher are {', '.join(sorted(needing)) or 'none'}."
        )
    opened = {}
    for name in sorted(paths, key=lambda name: (name != MAIN, name)):
        is_target, path = name in needing, paths[name]
        store = open_targets(path, terms[name], name) if is_target else open_store(path)
        opened[name] = CachedTeacher(path, store, is_target)
    return opened


def target_dims(terms: Mapping[str, AlignConfig], cached: Mapping[str, CachedTeacher]) -> dict[str, int]:
    """Channels of every term's target, by name: its cache's, or those of its teacher where no cache is its own."""
    return {
        name: cached[name].dim
        if name in cached and cached[name].is_target
        else get_teacher(term.teacher or "").dim
        for name, term in terms.items()
        if needs_teacher(term)
    }


def needs_cache(term: AlignConfig) -> bool:
    """Whether a term's targets are cached features."""
    return needs_teacher(term) and not term.online


def needs_teacher(term: AlignConfig) -> bool:
    """Whether a term's targets are features of a model beside the student."""
    objective = get_objective(term.objective)
    return objective is not None and objective.source == "teacher" and term.teacher != TOWER
