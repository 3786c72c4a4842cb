"""The paper's ablations (Tables 2 and 4 to 6): each row is LLaVA-1.5-7B with other settings of its alignment term.

A table's baseline and its row of DINOv2 at layer 16 are `llava15_7b_baseline` and `llava15_7b_viral`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from pipelines.training.config import TrainConfig, with_overrides

TEACHERS = {"clip": "clip", "sam": "sam-b", "dav2": "depth-anything-v2-b", "radio": "radio-v2.5-b"}
LAYERS = (4, 8, 12, 20, 24, 28, 32)

ABLATIONS: dict[str, dict[str, Any]] = {
    # Table 2: teachers at layer 16, then DINOv2 at other layers.
    **{f"table2_{name}": {"teacher": teacher} for name, teacher in TEACHERS.items()},
    **{f"table2_layer{layer}": {"layer": layer} for layer in LAYERS},
    # Table 4, by the letters of Figure 8. (c) is Table 2's CLIP without a cache: the tower's features are at hand.
    "table4_b": {"objective": "reinject_post"},
    "table4_c": {"teacher": "tower"},
    "table4_d": {"objective": "reinject_pre"},
    "table4_e": {"objective": "align_projected"},
    # Table 5. Whether layers share a head is not stated; the release's default is that they do.
    "table5_layers15to17": {"layer": [15, 16, 17]},
    "table5_layers14to18": {"layer": [14, 15, 16, 17, 18]},
    "table5_relation": {"objective": "relation"},
    # Table 6.
    "table6_ross": {"objective": "ross", "layer": 1.0, "weight": 1.0, "teacher": "flux-vae"},
    "table6_ross_middle": {"objective": "ross", "layer": 16, "weight": 1.0, "teacher": "flux-vae"},
}
"""Name of a row -> settings of `align` in which it differs."""


def ablation(base: Callable[[], TrainConfig], row: str) -> TrainConfig:
    """The base run with one row's settings."""
    changes = {f"align.{name}": value for name, value in ABLATIONS[row].items()}
    return with_overrides(base(), changes | {"name": row.replace("_", "-")})


def ablation_recipes(base: Callable[[], TrainConfig]) -> dict[str, Callable[[], TrainConfig]]:
    """A recipe for every row."""
    return {row: partial(ablation, base, row) for row in ABLATIONS}
