"""From the settings of a run's terms to the modules beside its MLLM."""

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING

import torch

from pipelines.training.align_config import TOWER, AlignConfig
from viral.errors import ConfigError
from viral.mllm.student import image_tokens
from viral.mllm.tap import layer_indices
from viral.objectives import LossTerm, Reinjection, Shape, TermSettings, get_objective

if TYPE_CHECKING:
    from viral.mllm.student import Llava


def build_terms(
    terms: Mapping[str, AlignConfig],
    model: "Llava",
    target_dims: Mapping[str, int],
    seed: int,
) -> dict[str, LossTerm | Reinjection]:
    """Modules by name, on the model's device; `terms` are resolved, `target_dims` those of cached targets.

    Raises:
        ConfigError: a layer that the model does not have, or settings that an objective does not take.
    """
    return {
        name: _build(name, term, model, target_dims.get(name), seed + index)
        for index, (name, term) in enumerate(terms.items())
    }


def is_cosine(term: AlignConfig) -> bool:
    """Whether a term's loss is minus a mean cosine."""
    objective = get_objective(term.objective)
    return objective is not None and objective.is_cosine


def _build(
    name: str, term: AlignConfig, model: "Llava", target_dim: int | None, seed: int
) -> LossTerm | Reinjection:
    objective, sizes = get_objective(term.objective), model.config
    assert objective is not None
    assert term.layer is not None
    hidden_dim, tower_dim = sizes.text_config.hidden_size, sizes.vision_config.hidden_size
    source = "tower" if term.teacher == TOWER else objective.source
    shape = Shape(
        hidden_dim=hidden_dim,
        tower_dim=tower_dim,
        target_dim=target_dim or {"tower": tower_dim, "projected": hidden_dim}.get(source or "", 0),
        grid=image_tokens(model).grid,
    )
    chosen = {
        field.name: getattr(term, field.name)
        for field in fields(TermSettings)
        if field.name in AlignConfig.model_fields
    }
    try:
        layers = layer_indices(term.layer, sizes.text_config.num_hidden_layers)
        settings = TermSettings(**chosen, layers=layers, source=source or "teacher", seed=seed)
        return objective.term(settings, shape).to(model.device, torch.float32)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error
