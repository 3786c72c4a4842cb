"""Read a file of named tensors without executing anything in it."""

from pathlib import Path

import torch

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


def _unwrap(checkpoint: object) -> object:
    for wrapper in ("model", "state_dict"):
        if isinstance(checkpoint, dict) and isinstance(checkpoint.get(wrapper), dict):
            checkpoint = checkpoint[wrapper]
    return checkpoint
