"""Checkpoints: whole or absent, in safetensors and JSON, enough to resume exactly or to export.

    <run>/checkpoints/step-000100/adapter/adapter_model.safetensors    LoRA and projector, PEFT's own layout
                                  projector.safetensors                instead of it, if nothing else is trained
                                  alignment_head.safetensors           of the terms; absent where none has any
                                  optimizer.safetensors                AdamW moments by parameter name
                                  trainer.json                         step, settings, SHA-256 of the other files
    <run>/checkpoints/LATEST                                           name of the newest complete one

Every backend and any number of ranks write and read this one layout: tensors are whole and go by their plain names.
Random state is not saved: each micro-batch seeds its own (`loop.seed_micro_batch`).
"""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from pipelines.training.backends.base import MOMENTS, Backend
from pipelines.training.changes import differences
from pipelines.training.config import TrainConfig, parse_config
from pipelines.training.folder import CONFIG
from pipelines.training.optim import kept, trainable
from stores.publish import publish
from viral.errors import ConfigError, WeightsError, one_line
from viral.mllm.aligned import AlignedMllm
from viral.mllm.trained import describe_adapter, trained_parts
from viral.tensors import read_tensors, writing_tensors

LATEST, TERMS = "LATEST", "alignment_head.safetensors"
OPTIMIZER, TRAINER = "optimizer.safetensors", "trainer.json"
Tensors = dict[str, torch.Tensor]


def save_checkpoint(
    folder: Path, step: int, module: AlignedMllm, backend: Backend, config: TrainConfig, *, main: bool
) -> Path:
    """Write the state after `step` optimizer steps under `folder`, then point LATEST at it.

    All ranks call it, for they hold the state together; the `main` one writes.
    """
    weights, moments = backend.weights(), backend.moments()
    final = folder / f"step-{step:06d}"
    if main:
        _publish(final, _parts(module, weights) | {OPTIMIZER: moments}, step, module, config)
        with publish(folder / LATEST) as pointer:
            pointer.write_text(final.name)
        for name in [name for name in complete_checkpoints(folder) if name != final.name][
            : -config.keep_last + 1 or None
        ]:
            shutil.rmtree(folder / name)
    return final


def complete_checkpoints(folder: Path) -> list[str]:
    """Names of the checkpoints in `folder`, oldest first."""
    return sorted(path.name for path in folder.glob("step-??????") if (path / TRAINER).is_file())


def latest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint that LATEST names, or None if nothing has been saved.

    Raises:
        WeightsError: LATEST is missing although there are checkpoints, or names one that is not there.
    """
    pointer, known = folder / LATEST, complete_checkpoints(folder)
    name = pointer.read_text(errors="replace").strip() if pointer.is_file() else None
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


def check_settings(checkpoint: Path, config: TrainConfig) -> None:
    """Make sure that a checkpoint was trained with these settings. (Older ones did not record theirs.)

    Raises:
        ConfigError: it was not; names each that differs.
        WeightsError: damaged.
    """
    recorded = _read(checkpoint).get("config")
    try:
        old = config if recorded is None else parse_config(recorded)
    except ConfigError as error:
        raise WeightsError(f"{checkpoint} is damaged ({one_line(error)}); {_older(checkpoint)}.") from error
    if changed := differences(old, config):
        raise ConfigError(
            f"{checkpoint} was trained with other settings: {'; '.join(changed)}. Restore them in "
            f"{checkpoint.parent.parent / CONFIG}, or start a new run in another --output."
        )


def load_checkpoint(checkpoint: Path, module: AlignedMllm) -> tuple[int, Tensors]:
    """Restore the weights exactly; returns the number of steps done and the moments, for the backend to load.

    Raises:
        WeightsError: damaged (an older checkpoint may serve: edit LATEST), or of a run with other tensors.
    """
    step = verify(checkpoint)
    parameters = kept(module)
    for file, wanted in _parts(module, parameters).items():
        found = _current_names(read_tensors(checkpoint / file))
        _require_same(checkpoint, found, wanted)
        with torch.no_grad():
            for name, tensor in wanted.items():
                tensor.copy_(found[name])
    moments = _current_names(read_tensors(checkpoint / OPTIMIZER))
    expected = {
        f"{name}.{moment}": torch.empty((), device="meta") if moment == "step" else parameter
        for name, parameter in trainable(module).items()
        for moment in MOMENTS
    }
    _require_same(checkpoint, moments, expected)
    return step, moments


def load_terms(checkpoint: Path, terms: nn.ModuleDict) -> None:
    """Restore what these of a checkpoint's terms have learnt.

    Raises:
        WeightsError: damaged, or of a run with other terms.
    """
    if wanted := terms.state_dict():
        found = _current_names(read_tensors(checkpoint / TERMS))
        found = {name: tensor for name, tensor in found.items() if name.partition(".")[0] in terms}
        _require_same(checkpoint, found, wanted)
        terms.load_state_dict(found)


def _current_names(tensors: Tensors) -> Tensors:
    """A run's single head was once called `head`, and its tensors 0, 2 and 4 in its own file."""
    old = ((r"^(?=\d)", "align.heads.0."), (r"^head\.", "terms.align.heads.0."))
    for pattern, new in old:
        tensors = {re.sub(pattern, new, name): tensor for name, tensor in tensors.items()}
    return tensors


def _parts(module: AlignedMllm, tensors: Tensors) -> dict[str, Tensors]:
    """`optim.kept` of a module, whoever holds it, by file and by the names in it. The values are those of `tensors`."""
    inside = {n.removeprefix("mllm."): tensor for n, tensor in tensors.items() if n.startswith("mllm.")}
    # Named as the one child that holds them names them, so that its own name may change.
    beside = {n.partition(".")[2]: tensor for n, tensor in tensors.items() if not n.startswith("mllm.")}
    return trained_parts(module.mllm, inside) | ({TERMS: beside} if beside else {})


def _publish(
    final: Path, parts: dict[str, Tensors], step: int, module: AlignedMllm, config: TrainConfig
) -> None:
    partial = final.with_name(f"{final.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with writing_tensors(partial):
            _write(partial, parts, step, module, config)
        _sync_tree(partial)
    except OSError:  # a disk that is full: make room for who resumes
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(final, ignore_errors=True)  # a resumed run reaches the same step with the same bytes
    partial.rename(final)


def _write(
    folder: Path, parts: dict[str, Tensors], step: int, module: AlignedMllm, config: TrainConfig
) -> None:
    for file, tensors in parts.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / file)
    describe_adapter(module.mllm, folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    digests = {path.relative_to(folder).as_posix(): _digest(path) for path in files}
    record = {"step": step, "config": config.model_dump(mode="json"), "sha256": digests}
    (folder / TRAINER).write_text(json.dumps(record, indent=1))


def verify(checkpoint: Path, *, optimizer: bool = True) -> int:
    """Its step, once every file (that of the `optimizer` too) is what was written. (Older ones recorded no digests.)

    Raises:
        WeightsError: it is not.
    """
    recorded = _read(checkpoint)
    try:
        step, digests = int(recorded["step"]), dict(recorded.get("sha256", {}))
        wanted = [name for name in digests if optimizer or name != OPTIMIZER]
        damaged = [name for name in wanted if _digest(checkpoint / name) != digests[name]]
        if checkpoint.name != f"step-{step:06d}":
            damaged.append(TRAINER)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{checkpoint} is damaged ({one_line(error)}); {_older(checkpoint)}.") from error
    if damaged:
        raise WeightsError(
            f"{checkpoint} is damaged: {', '.join(damaged)} changed since it was written; {_older(checkpoint)}."
        )
    return step


def _read(checkpoint: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((checkpoint / TRAINER).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"{checkpoint} is damaged ({one_line(error)}); {_older(checkpoint)}.") from error


def _older(checkpoint: Path) -> str:
    others = [name for name in complete_checkpoints(checkpoint.parent) if name != checkpoint.name]
    if not others:
        return "there is no other, so start again in another --output"
    return f"write the name of another into {checkpoint.parent / LATEST}: {', '.join(others)}"


def _require_same(checkpoint: Path, found: Tensors, wanted: Tensors) -> None:
    found_shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    wanted_shapes = {name: tuple(tensor.shape) for name, tensor in wanted.items()}
    if odd := sorted(found_shapes.items() ^ wanted_shapes.items()):
        raise WeightsError(f"{checkpoint} is not of this run: {len(odd)} tensors differ, first {odd[0]}.")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_tree(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
