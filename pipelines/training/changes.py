"""Which settings of a run may change while it is interrupted, and which of the others did."""

from pipelines.training.config import TrainConfig
from stores.spec import flatten

FREE = frozenset(
    {
        "device", "backend", "zero_stage", "gradient_checkpointing", "compile", "logits_at_once",
        "data.num_workers", "data.annotations", "data.images", "save_every", "keep_last",
    }
)  # fmt: skip
"""Where and how a run computes, and where its files lie: annotations are compared by content (`inputs.py`)."""


def differences(old: TrainConfig, new: TrainConfig) -> list[str]:
    """What a resumed run may not change and that differs, as text; both are resolved."""
    flat_old, flat_new = (flatten(config.model_dump(mode="json")) for config in (old, new))
    return [
        f"{name} was {flat_old.get(name)}, now {flat_new.get(name)}"
        for name in flat_new | flat_old
        if name not in FREE and flat_old.get(name) != flat_new.get(name)
    ]
