"""Load a teacher: architecture from timm, weights from the hub, a file or a seed, knobs from a profile."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from viral.device import pick_device
from viral.teachers.profiles import Profile, get_profile
from viral.teachers.spec import TeacherSpec
from viral.teachers.teacher import Teacher
from viral.teachers.weights import fit, read_file, read_hub

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer

RANDOM_SEED = 0
SCRAMBLE_STD = 0.02


def load_teacher(
    spec: TeacherSpec,
    weights: str | None = None,
    profile: str | Profile = "paper",
    device: str = "cpu",
    dtype: str | None = None,
) -> Teacher:
    """A frozen teacher on `device`.

    `weights`: `hub`, a local file, `random` (seeded), or None for the spec's own default. `dtype` overrides
    the profile's.

    Raises:
        WeightsError: weights that are absent, damaged or of another architecture.
        ConfigError: unknown profile, dtype or device.
    """
    if isinstance(profile, str):
        profile = get_profile(profile)
    if dtype is not None:
        profile = replace(profile, dtype=dtype)
    where = pick_device(device)
    backbone, origin = _load_backbone(spec, weights, profile.pos_embed)
    if profile.scramble_seed is not None:
        scramble_linears(backbone, profile.scramble_seed)
    return Teacher(spec, profile, backbone.to(_resolve_dtype(profile, where)), origin).to(where)


def scramble_linears(model: nn.Module, seed: int) -> None:
    """Overwrite every linear layer with N(0, 0.02) and zero bias, as the release's loading does by accident.

    The release builds its teacher inside the language model; `from_pretrained` then initialises every module
    it finds no weights for. Convolutions, norms, layer scales and embeddings survive.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=SCRAMBLE_STD, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _load_backbone(
    spec: TeacherSpec, weights: str | None, pos_embed: str
) -> tuple["VisionTransformer", dict[str, Any]]:
    if weights == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(RANDOM_SEED)
            return _create(spec), {"weights": "random", "weights_seed": RANDOM_SEED}
    with torch.device("meta"):  # no time spent on numbers that the checkpoint replaces
        backbone = _create(spec)
    if weights is None and spec.weights_file is not None:
        weights = str(spec.weights_file)
    if weights in (None, "hub"):
        source = spec.timm_id
        state = read_hub(source)
    else:
        source = str(weights)
        state = read_file(Path(source))
    backbone.load_state_dict(fit(backbone, state, source, pos_embed), strict=True, assign=True)
    return backbone, {"weights": "pretrained", "weights_seed": None}


def _create(spec: TeacherSpec) -> "VisionTransformer":
    import timm

    model = cast(
        "VisionTransformer",
        timm.create_model(spec.timm_id, num_classes=0, img_size=spec.image_size, **spec.timm_kwargs),
    )
    assert (*model.patch_embed.grid_size, model.num_features) == (*spec.grid, spec.dim), spec
    return model


def _resolve_dtype(profile: Profile, device: torch.device) -> torch.dtype:
    if profile.dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[profile.dtype]
