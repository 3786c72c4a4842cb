"""Checkpoints: whole or absent, in safetensors and JSON, enough to resume exactly or to export.

    <run>/checkpoints/step-000100/adapter/adapter_model.safetensors    LoRA and projector, PEFT's own layout
                                  alignment_head.safetensors           of the terms; absent where none has any
                                  optimizer.safetensors                AdamW moments by parameter name
                                  trainer.json                         step and shapes of the run
    <run>/checkpoints/LATEST                                           name of the newest complete one

Random state is not saved: each step seeds its own (`loop.seed_step`).
"""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from pipelines.training.optim import trainable
from stores.publish import publish
from viral.errors import ConfigError, WeightsError
from viral.mllm.aligned import AlignedMllm
from viral.tensors import read_tensors

LATEST, TERMS = "LATEST", "alignment_head.safetensors"


def save_checkpoint(
    folder: Path, step: int, module: AlignedMllm, optimizer: torch.optim.Optimizer, keep: int
) -> Path:
    """Write the state after `step` optimizer steps under `folder`, then point LATEST at it."""
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"step-{step:06d}"
    partial = folder / f"{final.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    module.mllm.save_pretrained(partial / "adapter", save_embedding_layers=False)
    if terms := module.terms.state_dict():
        save_file(_contiguous(terms), partial / TERMS)
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


def checkpoint_at(folder: Path, name: str | None = None) -> Path:
    """The checkpoint of this name, or the newest.

    Raises:
        ConfigError: it has not been saved.
        WeightsError: see `latest_checkpoint`.
    """
    checkpoint = latest_checkpoint(folder) if name is None else folder / name
    known = complete_checkpoints(folder)
    if checkpoint is None or checkpoint.name not in known:
        raise ConfigError(
            f"{folder.parent} has not saved {name or 'a checkpoint'} yet. Saved: {', '.join(known) or 'nothing'}."
        )
    return checkpoint


def load_checkpoint(checkpoint: Path, module: AlignedMllm, optimizer: torch.optim.Optimizer) -> int:
    """Restore weights and optimizer moments exactly; returns the number of steps already done.

    Raises:
        WeightsError: damaged (an older checkpoint may serve: edit LATEST), or of a run with other tensors.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    adapter = read_tensors(checkpoint / "adapter" / "adapter_model.safetensors")
    _require_keys(checkpoint, adapter, get_peft_model_state_dict(module.mllm, save_embedding_layers=False))
    set_peft_model_state_dict(module.mllm, adapter)
    load_terms(checkpoint, module.terms)
    state = _current_names(read_tensors(checkpoint / "optimizer.safetensors"))
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


def load_terms(checkpoint: Path, terms: nn.ModuleDict) -> None:
    """Restore what these of a checkpoint's terms have learnt.

    Raises:
        WeightsError: damaged, or of a run with other terms.
    """
    if wanted := terms.state_dict():
        found = _current_names(read_tensors(checkpoint / TERMS))
        found = {name: tensor for name, tensor in found.items() if name.partition(".")[0] in terms}
        _require_keys(checkpoint, found, wanted)
        terms.load_state_dict(found)


def _current_names(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A run's single head was once called `head`, and its tensors 0, 2 and 4 in its own file."""
    old = ((r"^(?=\d)", "align.heads.0."), (r"^head\.", "terms.align.heads.0."))
    for pattern, new in old:
        tensors = {re.sub(pattern, new, name): tensor for name, tensor in tensors.items()}
    return tensors


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
