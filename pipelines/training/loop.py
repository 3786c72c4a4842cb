"""The training loop: one verb a line, stateless in its order and its randomness, so a resumed run is the same run."""

import json
import math
import resource
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from tqdm import tqdm

from pipelines.interrupt import StopRequest
from pipelines.progress import bar
from pipelines.training.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from pipelines.training.config import TrainConfig
from pipelines.training.folder import CHECKPOINTS, METRICS, check_folder, run_lock, start_folder, trim_metrics
from pipelines.training.optim import lr_factor, set_lr
from pipelines.training.setup import Run, build_run
from pipelines.workers import reporting_dead_workers
from viral.data.dataset import Batch
from viral.data.images import normalise
from viral.errors import DataError
from viral.mllm.aligned import Losses


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """One optimizer step. Losses are means over its micro-batches; times in seconds."""

    step: int
    loss: float
    lm: float
    cosine: float | None
    """Mean cosine of Eq. 6, corrected for the codec's own loss (kappa); None without images or teacher."""
    lr: float
    tokens: int
    truncated: int
    """Samples cut at `data.max_length`."""
    step_time: float
    data_wait: float
    peak_memory: int
    """Bytes: of the device on a GPU, of the process on a CPU."""

    def as_json(self) -> str:
        """One line of `metrics.jsonl`."""
        names = {"lm": "loss/lm", "cosine": "align/cosine"}
        return json.dumps({names.get(name, name): value for name, value in asdict(self).items()})


def train(config: TrainConfig, *, cache: Path | None, output: Path, resume: bool = False) -> Path:
    """Run (or continue) a training run in `output`; returns its last checkpoint.

    Raises:
        ViralError, StoreError: whatever in the configuration, data, weights or cache does not fit.
        KeyboardInterrupt: stopped by SIGINT or SIGTERM, after a checkpoint of the last whole step.
    """
    check_folder(output, config, resume=resume)
    run = build_run(config, cache)
    checkpoints = output / CHECKPOINTS
    with run_lock(output), StopRequest() as stop:
        start_folder(output, config, run.inputs)
        done = 0
        if resume and (checkpoint := latest_checkpoint(checkpoints)):
            done = load_checkpoint(checkpoint, run.module, run.optimizer)
        trim_metrics(output, done)
        with (
            (output / METRICS).open("a") as metrics,
            bar(run.num_steps, config.name, True, done, "step") as progress,
        ):
            for metric in steps(run, done):
                _record(metric, metrics, progress)
                last = metric.step == run.num_steps
                if last or stop.requested or metric.step % config.save_every == 0:
                    save_checkpoint(checkpoints, metric.step, run.module, run.optimizer, config.keep_last)
                if stop.requested and not last:
                    raise KeyboardInterrupt(
                        f"stopped after step {metric.step} of {run.num_steps}, which is saved"
                    )
    final = latest_checkpoint(checkpoints)
    assert final is not None
    return final


def steps(run: Run, first_step: int) -> Iterator[StepMetrics]:
    """Perform optimizer steps `first_step` .. `num_steps` - 1, yielding after each."""
    batches = iter(run.loader(first_step))
    for step in range(first_step, run.num_steps):
        with reporting_dead_workers(f"data.num_workers than {run.config.data.num_workers}"):
            metrics = train_step(run, batches, step)
        yield metrics


def train_step(run: Run, batches: Iterator[Batch | Exception], step: int) -> StepMetrics:
    """One optimizer step over the micro-batches of this rank.

    Raises:
        DataError: the loss is not finite; nothing has been updated.
    """
    started, data_wait, tokens, truncated = time.perf_counter(), 0.0, 0, 0
    config = run.config
    lr = set_lr(run.optimizer, lr_factor(step, run.num_steps, config.optim.warmup_ratio))
    seed_step(config.seed, step, run.backend.rank)
    num_micro = config.data.batch_size // (config.data.micro_batch_size * run.backend.world_size)
    totals: list[torch.Tensor] = []
    sample_ids: list[str] = []
    lms: list[torch.Tensor] = []
    aligns: list[torch.Tensor] = []
    for _ in range(num_micro):
        waiting = time.perf_counter()
        batch = next(batches)
        data_wait += time.perf_counter() - waiting
        if isinstance(batch, Exception):
            raise batch
        losses = _forward(run, batch)
        run.backend.backward(losses.total / num_micro)
        tokens += batch.num_tokens
        truncated += batch.num_truncated
        sample_ids += batch.ids
        totals.append(losses.total.detach())
        lms.append(losses.lm.detach())
        if losses.align is not None:
            aligns.append(losses.align.detach())
    loss = float(torch.stack(totals).mean())
    if not math.isfinite(loss):
        raise DataError(
            f"Loss is {loss} at step {step + 1} with samples {', '.join(sample_ids[:8])}; "
            "nothing was updated. Lower optim.lr, or look at these samples."
        )
    run.backend.step(config.optim.max_grad_norm)
    return StepMetrics(
        step=step + 1,
        loss=loss,
        lm=float(torch.stack(lms).mean()),
        cosine=-float(torch.stack(aligns).mean()) / run.kappa if aligns else None,
        lr=lr,
        tokens=tokens,
        truncated=truncated,
        step_time=time.perf_counter() - started,
        data_wait=data_wait,
        peak_memory=_peak_memory(run.device),
    )


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch (dropout) for one step of one rank, so that nothing random has to be checkpointed."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint32)[0]))


def _forward(run: Run, batch: Batch) -> Losses:
    def move(value: torch.Tensor | np.ndarray) -> torch.Tensor:
        return torch.as_tensor(value).to(run.device, non_blocking=True)

    pixels_NCSS = normalise(move(batch.squares), run.dataset.encoding.pixels)
    target_NTC = run.decoder(move(batch.codes)) if run.decoder and batch.codes is not None else None
    enabled = run.config.precision == "bf16"
    with torch.autocast(run.device.type, dtype=torch.bfloat16, enabled=enabled):
        return run.backend.forward(
            input_ids=move(batch.input_ids),
            labels=move(batch.labels),
            pixels=pixels_NCSS,
            target=target_NTC,
            cu_seq_lens=None if batch.cu_seq_lens is None else torch.as_tensor(batch.cu_seq_lens),
        )


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _record(metric: StepMetrics, metrics: TextIO, progress: "tqdm[Any]") -> None:
    metrics.write(metric.as_json() + "\n")
    metrics.flush()
    progress.update()
    shown = {
        "lm": f"{metric.lm:.3f}",
        "tok/s": f"{metric.tokens / metric.step_time:.0f}",
        "wait": f"{metric.data_wait / metric.step_time:.0%}",
    }
    if metric.cosine is not None:
        shown["cos"] = f"{metric.cosine:.3f}"
    progress.set_postfix(shown)
