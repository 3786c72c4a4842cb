"""Checkpoints: whole or absent, in safetensors and JSON, enough to resume exactly or to export.

    <run>/checkpoints/step-000100/adapter/adapter_model.safetensors    LoRA and projector, PEFT's own layout
                                  projector.safetensors                instead of it, if nothing else is trained
                                  alignment_head.safetensors           absent for a baseline
                                  optimizer.safetensors                AdamW moments by parameter name
                                  trainer.json                         step and shapes of the run
    <run>/checkpoints/LATEST                                           name of the newest complete one

Random state is not saved: each step seeds its own (`loop.seed_step`).
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from pipelines.training.optim import trainable
from stores.publish import publish
from viral.errors import WeightsError
from viral.mllm.aligned import AlignedMllm
from viral.mllm.trained import describe_adapter, trained_parts
from viral.tensors import read_tensors

LATEST = "LATEST"


def save_checkpoint(
    folder: Path, step: int, module: AlignedMllm, optimizer: torch.optim.Optimizer, keep: int
) -> Path:
    """Write the state after `step` optimizer steps under `folder`, then point LATEST at it."""
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"step-{step:06d}"
    partial = folder / f"{final.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for file, tensors in _trained(module).items():
        (partial / file).parent.mkdir(exist_ok=True)
        save_file(_contiguous(tensors), partial / file)
    describe_adapter(module.mllm, partial)
    if module.head is not None:
        save_file(_contiguous(module.head.state_dict()), partial / "alignment_head.safetensors")
    save_file(_optimizer_tensors(module, optimizer), partial / "optimizer.safetensors")
    (partial / "trainer.json").write_text(json.dumps({"step": step}))
    _sync_tree(partial)
    shutil.rmtree(final, ignore_errors=True)  # a resumed run reaches the same step with the same bytes
    partial.rename(final)
    with publish(folder / LATEST) as pointer:
        pointer.write_text(final.name)
    for name in [name for name in complete_checkpoints(folder) if name != final.name][: -keep + 1 or None]:
        shutil.rmtree(folder / name)
    return final


def complete_checkpoints(folder: Path) -> list[str]:
    """Names of the checkpoints in `folder`, oldest first."""
    return sorted(path.name for path in folder.glob("step-??????") if (path / "trainer.json").is_file())


def latest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint that LATEST names, or None if nothing has been saved.

    Raises:
        WeightsError: LATEST is missing although there are checkpoints, or names one that is not there.
    """
    pointer, known = folder / LATEST, complete_checkpoints(folder)
    name = pointer.read_text().strip() if pointer.is_file() else None
    if name is None and not known:
        return None
    if name not in known:
        raise WeightsError(
            f"{pointer} names {name or 'nothing'}; write the name of a checkpoint into it: "
            f"{', '.join(known) or 'there is none, so start again in another --output'}."
        )
    return folder / name


def load_checkpoint(checkpoint: Path, module: AlignedMllm, optimizer: torch.optim.Optimizer) -> int:
    """Restore weights and optimizer moments exactly; returns the number of steps already done.

    Raises:
        WeightsError: damaged (an older checkpoint may serve: edit LATEST), or of a run with other tensors.
    """
    for file, wanted in _trained(module).items():
        found = read_tensors(checkpoint / file)
        _require_keys(checkpoint, found, wanted)
        with torch.no_grad():
            for name, tensor in wanted.items():
                tensor.copy_(found[name])
    if module.head is not None:
        head = read_tensors(checkpoint / "alignment_head.safetensors")
        _require_keys(checkpoint, head, module.head.state_dict())
        module.head.load_state_dict(head)
    state = read_tensors(checkpoint / "optimizer.safetensors")
    for name, parameter in trainable(module).items():
        moments = {moment: state.get(f"{name}.{moment}") for moment in ("step", "exp_avg", "exp_avg_sq")}
        if any(tensor is None for tensor in moments.values()):
            raise WeightsError(f"{checkpoint} has no optimizer state for {name}; it belongs to another run.")
        optimizer.state[parameter] = {
            moment: tensor if moment == "step" else tensor.to(parameter.device)
            for moment, tensor in moments.items()
            if tensor is not None
        }
    return int(json.loads((checkpoint / "trainer.json").read_text())["step"])


def _trained(module: AlignedMllm) -> dict[str, dict[str, torch.Tensor]]:
    """What is trained inside the MLLM, by file and by name in it."""
    inside = {name: tensor for name, tensor in module.mllm.named_parameters() if tensor.requires_grad}
    return trained_parts(module.mllm, inside)


def _optimizer_tensors(module: AlignedMllm, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{moment}": optimizer.state[parameter][moment].detach().contiguous()
        for name, parameter in trainable(module).items()
        for moment in ("step", "exp_avg", "exp_avg_sq")
    }


def _contiguous(tensors: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


def _require_keys(checkpoint: Path, found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    found_shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    wanted_shapes = {name: tuple(tensor.shape) for name, tensor in wanted.items()}
    if found_shapes != wanted_shapes:
        odd = sorted(found_shapes.items() ^ wanted_shapes.items())
        raise WeightsError(f"{checkpoint} is not of this run: {len(odd)} tensors differ, first {odd[0]}.")


def _sync_tree(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
