"""A model to ask: a plain Hugging Face folder, or a run as it was trained, with what it adds to hidden states."""

from pathlib import Path

import torch
from torch import nn

from pipelines.training.checkpoint import checkpoint_at, load_terms, verify
from pipelines.training.config import DTYPES, TrainConfig, read_config
from pipelines.training.folder import CHECKPOINTS, CONFIG
from pipelines.training.modules import build_student
from pipelines.training.terms import build_terms
from viral.mllm.assemble import add_image_token
from viral.mllm.student import Student, load_student
from viral.mllm.trained import merge_trained
from viral.objectives import Reinjection, get_objective


def load_model(source: str, *, device: str = "cpu", dtype: str = "float32") -> Student:
    """Load a Hugging Face folder (or hub id), the newest checkpoint of a run's folder, or one of its checkpoints.

    A run is merged as its export would be, in fp32 and then in the run's precision.

    Raises:
        ConfigError: a run without a checkpoint.
        WeightsError: nothing there, or weights that do not fit.
    """
    checkpoint, config = run_checkpoint(source), run_config(source)
    if checkpoint is None or config is None:
        return load_student(source, device=device, dtype=dtype)
    student = merged_student(config, checkpoint)
    add_image_token(student)  # prompts come as token ids
    student.model.to(getattr(torch, DTYPES[config.precision])).to(device, getattr(torch, dtype)).eval()
    terms = {name: term for name, term in config.terms.items() if name in reinjections(config)}
    modules = nn.ModuleDict(build_terms(terms, student.model, {}, config.seed))
    load_terms(checkpoint, modules)
    for module in modules.to(getattr(torch, dtype)).values():
        assert isinstance(module, Reinjection)
        module.attach(student.model.model)
    return student


def merged_student(config: TrainConfig, checkpoint: Path) -> Student:
    """A run's base with what it has trained merged into it, on the CPU in fp32.

    Raises:
        WeightsError: the checkpoint is damaged, or base or adapter do not load.
    """
    verify(checkpoint, optimizer=False)
    student = build_student(config.model, device="cpu", dtype="float32", seed=config.seed)
    merge_trained(student, checkpoint)
    return student


def run_checkpoint(source: str) -> Path | None:
    """The checkpoint that a run's folder, or a checkpoint's own, stands for; None if `source` is neither.

    Raises:
        ConfigError: the run has not saved one yet.
        WeightsError: the run's pointer names one that is not there.
    """
    path = Path(source)
    if (path / CONFIG).is_file():
        return checkpoint_at(path / CHECKPOINTS)
    inside_run = path.parent.name == CHECKPOINTS and (path.parent.parent / CONFIG).is_file()
    return checkpoint_at(path.parent, path.name) if inside_run else None


def run_config(source: str) -> TrainConfig | None:
    """The settings of the run that `source` is, or is a checkpoint of; None if it is neither.

    Raises:
        ConfigError, WeightsError: as `run_checkpoint`, or the file with the settings is damaged.
    """
    checkpoint = run_checkpoint(source)
    return None if checkpoint is None else read_config(checkpoint.parent.parent / CONFIG)


def reinjections(config: TrainConfig) -> dict[str, str]:
    """Objective by name of each term that the model needs when it is used, and not only while it is trained."""
    found = {}
    for name, term in config.terms.items():
        objective = get_objective(term.objective)
        if objective and issubclass(objective.term, Reinjection):
            found[name] = term.objective
    return found
