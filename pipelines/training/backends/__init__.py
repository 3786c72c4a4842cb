"""Where gradients meet and weights change. One file a backend; the loop knows only `Backend`."""

from collections.abc import Callable
from importlib.util import find_spec

import torch

from pipelines.training.backends.base import Backend
from pipelines.training.backends.ddp import DdpBackend
from pipelines.training.backends.deepspeed import DeepSpeedBackend
from pipelines.training.backends.single import SingleBackend
from pipelines.training.config import TrainConfig
from viral.errors import ConfigError, UnknownNameError
from viral.mllm.aligned import AlignedMllm

__all__ = ["BACKENDS", "Backend", "resolve_backend"]

BACKENDS: dict[str, Callable[[AlignedMllm, torch.optim.AdamW, TrainConfig], Backend]] = {
    "single": SingleBackend,
    "ddp": DdpBackend,
    "deepspeed": DeepSpeedBackend,
}


def resolve_backend(name: str, num_ranks: int) -> str:
    """A key of `BACKENDS`; `auto` is ddp for several ranks and single for one.

    Raises:
        UnknownNameError: no such backend.
        ConfigError: one for a single process, and several ranks; or DeepSpeed is not installed.
    """
    if name == "auto":
        return "ddp" if num_ranks > 1 else "single"
    if name not in BACKENDS:
        raise UnknownNameError("backend", name, ["auto", *BACKENDS])
    if name == "single" and num_ranks > 1:
        raise ConfigError(
            f"backend=single, but there are {num_ranks} ranks; set backend=ddp or backend=deepspeed."
        )
    if name == "deepspeed" and find_spec("deepspeed") is None:
        raise ConfigError(
            "backend=deepspeed needs DeepSpeed, which is not installed: pip install deepspeed, or set backend=ddp."
        )
    return name
