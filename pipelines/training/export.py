"""Hand a run over: merge what it trained into its base and write a plain Hugging Face folder."""

import json
import shutil
from pathlib import Path

import torch

from pipelines.training.checkpoint import checkpoint_at
from pipelines.training.config import DTYPES, read_config
from pipelines.training.folder import CHECKPOINTS, CONFIG
from pipelines.training.load import merged_student, reinjections
from pipelines.wording import ORIGIN
from viral.data.conversation import get_template
from viral.errors import ConfigError
from viral.mllm.export import save_student
from viral.tensors import writing_tensors


def export_run(run: Path, out: Path, step: int | None = None) -> Path:
    """Write the model of `run` at `step` (default: its newest checkpoint) to `out`.

    Merged in fp32, saved in the run's precision. Neither teacher nor alignment head is in the result.

    Raises:
        ConfigError: no run, no such checkpoint, `out` is not empty, or the run's model is more than its weights.
        WeightsError: base or adapter do not load.
    """
    config = read_config(run / CONFIG)
    out = out.resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is a file or not empty; give another --out.")
    if lost := reinjections(config):
        raise ConfigError(
            f"{run} was trained with {', '.join(lost.values())}, which adds to hidden states while the model runs; a "
            f"plain Hugging Face folder would lose it. Use the run itself: viral eval --model {run}."
        )
    checkpoint = checkpoint_at(run / CHECKPOINTS, None if step is None else f"step-{step:06d}")
    student = merged_student(config, checkpoint)
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with writing_tensors(partial):
        save_student(
            student,
            partial,
            get_template(config.data.template),
            image_mode=config.data.image_mode,
            dtype=getattr(torch, DTYPES[config.precision]),
        )
    origin = {"run": config.name, "checkpoint": checkpoint.name, "config": config.model_dump(mode="json")}
    (partial / ORIGIN).write_text(json.dumps(origin, indent=2))
    if out.exists():
        out.rmdir()
    partial.rename(out)
    return out
