"""The default backend: transformers' models under our own greedy loop; runs whatever can be trained."""

from functools import partial
from typing import TYPE_CHECKING

from pipelines.answering.backend import Answer, Backend

if TYPE_CHECKING:
    import torch


def _check(model: str, device: "torch.device") -> None:
    """Whatever is wrong with a model is said when it is loaded."""


def _load(model: str, device: "torch.device", dtype: str) -> Answer:
    from pipelines.training.load import load_model
    from viral.mllm.generate import generate

    return partial(generate, load_model(model, device=str(device), dtype=dtype))


TRANSFORMERS = Backend(
    name="transformers",
    check=_check,
    load=_load,
    batch_size={"cpu": 32, "cuda": 256},  # halved on a GPU that does not hold as many
)
