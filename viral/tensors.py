"""Read a file of named tensors without executing anything in it, and put them where they belong."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from viral.errors import WeightsError, one_line


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a `.safetensors` file, or of a torch checkpoint read with `weights_only=True`.

    A checkpoint may hold them under `model` or `state_dict`, beside the state of its training.

    Raises:
        WeightsError: missing, truncated, damaged, or not a plain dictionary of tensors.
    """
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        tensors = _unwrap(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # on arbitrary bytes torch's unpickler raises what it pleases
        raise WeightsError(f"{path} cannot be read as weights: {one_line(error)}.") from error
    if not isinstance(tensors, dict) or not all(
        isinstance(value, torch.Tensor) for value in tensors.values()
    ):
        raise WeightsError(f"{path} is not a plain dictionary of tensors.")
    return tensors


@contextmanager
def writing_tensors(folder: Path) -> Iterator[None]:
    """Around writing `.safetensors` files into `folder`: a disk that is full is an OSError, as for any other file.

    Raises:
        OSError: they could not be written.
    """
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        raise OSError(f"Cannot write into {folder}: {one_line(error)}.") from error


def load_exactly(module: nn.Module, state: dict[str, torch.Tensor], source: str, what: str) -> None:
    """Copy `state` into `module`; every name and shape has to fit. `source` and `what` are for the message.

    Raises:
        WeightsError: keys missing, unexpected or of another shape; the first ones are named.
    """
    wanted = module.state_dict()
    misfits = [f"{name} is missing" for name in wanted if name not in state]
    misfits += [f"{name} is unexpected" for name in state if name not in wanted]
    misfits += [
        f"{name} has shape {list(state[name].shape)}, expected {list(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in state and state[name].shape != tensor.shape
    ]
    if misfits:
        rest = f" and {len(misfits) - 4} more" if len(misfits) > 4 else ""
        raise WeightsError(f"{source} is not {what}: {'; '.join(misfits[:4])}{rest}.")
    module.load_state_dict(state)


def _unwrap(checkpoint: object) -> object:
    for wrapper in ("model", "state_dict"):
        if isinstance(checkpoint, dict) and isinstance(checkpoint.get(wrapper), dict):
            checkpoint = checkpoint[wrapper]
    return checkpoint
