"""Load a teacher: architecture from its family, weights from the hub, a file or a seed, knobs from a profile."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from viral.data.images import SQUARE_MODES
from viral.device import pick_device
from viral.errors import ConfigError
from viral.teachers.families import get_family
from viral.teachers.families.family import Family
from viral.teachers.profiles import Profile, get_profile
from viral.teachers.spec import TeacherSpec
from viral.teachers.teacher import SQUARE_MODE, Teacher
from viral.teachers.weights import find_weights, fit

RANDOM_SEED = 0
SCRAMBLE_STD = 0.02


def load_teacher(
    spec: TeacherSpec,
    weights: str | None = None,
    profile: str | Profile = "paper",
    device: str = "cpu",
    dtype: str | None = None,
    grid: int | None = None,
    square: str = SQUARE_MODE,
) -> Teacher:
    """A frozen teacher on `device`.

    `weights`: `hub`, a hub id, a local file or folder, `random` (seeded), or None for the spec's own default.
    `dtype` overrides the profile's. `grid` is the side of the token grid to give, if not the teacher's own;
    `square` how its pictures become squares, `pad` or `crop`.

    Raises:
        WeightsError: weights that are absent, damaged or of another architecture.
        ConfigError: unknown profile, dtype, device or kind of square; a grid without tokens.
    """
    if isinstance(profile, str):
        profile = get_profile(profile)
    if dtype is not None:
        profile = replace(profile, dtype=dtype)
    if grid is not None and grid < 1:
        raise ConfigError(f"A teacher's grid of {grid} x {grid} tokens: give a side of at least 1.")
    if square not in SQUARE_MODES:
        raise ConfigError(f"Unknown kind of square {square!r}. Known: {', '.join(SQUARE_MODES)}.")
    where = pick_device(device)
    family = get_family(spec.family)
    spec, profile = family.complete(spec, weights), family.resolve(profile)
    backbone, origin = _load_backbone(family, spec, weights, profile)
    backbone = family.trim(backbone, spec)
    if profile.scramble_seed is not None:
        scramble(family.linears(backbone), profile.scramble_seed)
    backbone = backbone.to(_resolve_dtype(profile, where))
    return Teacher(spec, profile, family, backbone, origin, grid, square).to(where)


def scramble(layers: list[nn.Module], seed: int) -> None:
    """Overwrite layers with N(0, 0.02) and zero bias, as the release's loading does by accident.

    The release builds its teacher inside the language model; `from_pretrained` then initialises every linear
    layer it finds no weights for. Convolutions, norms, layer scales and embeddings survive.
    """
    generator = torch.Generator().manual_seed(seed)
    for layer in layers:
        for name, parameter in layer.named_parameters(recurse=False):
            if name == "bias":
                nn.init.zeros_(parameter)
            else:
                nn.init.normal_(parameter, std=SCRAMBLE_STD, generator=generator)


def _load_backbone(
    family: Family, spec: TeacherSpec, weights: str | None, profile: Profile
) -> tuple[nn.Module, dict[str, Any]]:
    if weights == "random":
        return _create_random(family, spec), {"weights": "random", "weights_seed": RANDOM_SEED}
    origin = {"weights": "pretrained", "weights_seed": None}
    if (loaded := family.load(spec, weights)) is not None:
        return loaded, origin
    path = find_weights(spec, weights)
    with torch.device("meta"):  # no time spent on numbers that the checkpoint replaces
        backbone = family.create(spec)
    if _has_computed_buffers(backbone):
        backbone = _create_random(family, spec)
    state = fit(family, backbone, spec, profile, path)
    backbone.load_state_dict(state, strict=True, assign=True)
    return backbone, origin


def _create_random(family: Family, spec: TeacherSpec) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_SEED)
        return family.create(spec)


def _has_computed_buffers(model: nn.Module) -> bool:
    """Whether the model holds numbers that no checkpoint brings, and that `meta` would lose."""
    return bool(dict(model.named_buffers()).keys() - model.state_dict().keys())


def _resolve_dtype(profile: Profile, device: torch.device) -> torch.dtype:
    if profile.dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    resolved: torch.dtype = getattr(torch, profile.dtype)
    return resolved
