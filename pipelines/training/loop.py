"""The training loop: one verb a line, stateless in its order and its randomness, so a resumed run is the same run."""

import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch

from pipelines.interrupt import StopRequest
from pipelines.training.backends import BACKENDS, Backend, resolve_backend
from pipelines.training.caches import Caches
from pipelines.training.checkpoint import (
    check_settings,
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from pipelines.training.config import TrainConfig
from pipelines.training.folder import CHECKPOINTS, check_folder, run_lock, start_folder, trim_metrics
from pipelines.training.loggers import get_loggers
from pipelines.training.metrics import StepMetrics, Tally, named_terms
from pipelines.training.optim import lr_factor, set_lr
from pipelines.training.ranks import join_ranks
from pipelines.training.recorder import Recorder
from pipelines.training.setup import Run, build_run
from pipelines.training.watch import Stopped
from pipelines.workers import reporting_dead_workers
from viral.data.dataset import Batch
from viral.data.images import normalise
from viral.errors import ConfigError
from viral.mllm.aligned import Losses


def train(
    config: TrainConfig,
    *,
    cache: Caches,
    output: Path,
    vision_cache: Path | None = None,
    resume: bool = False,
    log: Sequence[str] = (),
) -> Path:
    """Run (or continue) a training run in `output`; returns its last checkpoint.

    `cache` is that of the main term, or those of several terms by name; `vision_cache` that of the student's tower;
    `log` names of `loggers.LOGGERS`.

    Raises:
        ViralError, StoreError: whatever in the configuration, data, weights or cache does not fit.
        KeyboardInterrupt: stopped by SIGINT or SIGTERM, after a checkpoint of the last whole step.
    """
    config, loggers = config.resolved(), get_loggers(log)
    with join_ranks(config) as ranks:
        if ranks.main:
            check_folder(output, config, resume=resume)
        run = build_run(config, cache, ranks, vision_cache=vision_cache)
        with run_lock(output) if ranks.main else nullcontext(), StopRequest(patient=ranks.size > 1) as stop:
            if ranks.main:
                start_folder(output, config, run.inputs)
            ranks.barrier()
            checkpoint = latest_checkpoint(output / CHECKPOINTS) if resume else None
            backend, done = start(run, checkpoint)
            if ranks.main:
                trim_metrics(output, done)
            with Recorder(output, config, run.num_steps, done, loggers, main=ranks.main) as recorder:
                for metric in steps(run, backend, done):
                    recorder.record(metric)
                    last, stopping = metric.step == run.num_steps, ranks.any(stop.requested)
                    if last or stopping or metric.step % config.save_every == 0:
                        checkpoint = save_checkpoint(
                            output / CHECKPOINTS, metric.step, run.module, backend, config, main=ranks.main
                        )  # fmt: skip
                        ranks.barrier()
                    if stopping and not last:
                        raise Stopped(f"stopped after step {metric.step} of {run.num_steps}, which is saved")
    assert checkpoint is not None
    return checkpoint


def start(run: Run, checkpoint: Path | None = None) -> tuple[Backend, int]:
    """The backend of a run, at its beginning or where `checkpoint` left it, and the number of steps done.

    Raises:
        WeightsError: the checkpoint is damaged or of another run.
        ConfigError: it was trained with other settings, or ranks do not see the same one.
    """
    if checkpoint:
        check_settings(checkpoint, run.config)
    done, moments = load_checkpoint(checkpoint, run.module) if checkpoint else (0, None)
    if len(found := set(run.ranks.gather([done])[:, 0].tolist())) > 1:
        raise ConfigError(
            f"Ranks would resume after steps {sorted(found)}: --output must be a folder all share."
        )
    name = resolve_backend(run.config.backend, run.ranks.size)
    backend = BACKENDS[name](run.module, run.optimizer, run.config)
    if moments is not None:
        backend.load_moments(moments)
    return backend, done


def steps(run: Run, backend: Backend, first_step: int) -> Iterator[StepMetrics]:
    """Perform optimizer steps `first_step` .. `num_steps` - 1, yielding after each."""
    batches = iter(run.loader(first_step))
    for step in range(first_step, run.num_steps):
        with reporting_dead_workers(f"data.num_workers than {run.config.data.num_workers}"):
            metrics = train_step(run, backend, batches, step)
        yield metrics


def train_step(run: Run, backend: Backend, batches: Iterator[Batch | Exception], step: int) -> StepMetrics:
    """One optimizer step over the micro-batches of this rank.

    Raises:
        DataError, RankError: the loss is not finite, here or on another rank; nothing has been updated.
    """
    started, tally = time.perf_counter(), Tally()
    lr = set_lr(backend.optimizer, lr_factor(step, run.num_steps, run.config.optim.warmup_ratio))
    for micro in range(run.num_micro):
        seed_micro_batch(run.config.seed, step, run.ranks.rank + micro * run.ranks.size)
        waiting = time.perf_counter()
        batch = next(batches)
        tally.data_wait += time.perf_counter() - waiting
        if isinstance(batch, Exception):
            raise batch
        with backend.accumulate(last=micro == run.num_micro - 1):
            losses = _forward(run, backend, batch)
            backend.backward(losses.total / run.num_micro)
        tally.add(losses, batch)
    means = tally.over_ranks(run.ranks, step, list(run.module.loss_terms))
    backend.step()
    return StepMetrics(
        step=step + 1,
        loss=means.loss,
        lm=means.lm,
        terms=named_terms(means.terms, run.kappas),
        skipped=means.skipped,
        lr=lr,
        tokens=means.tokens,
        truncated=means.truncated,
        step_time=time.perf_counter() - started,
        data_wait=means.data_wait,
        peak_memory=means.peak_memory,
    )


def seed_micro_batch(seed: int, step: int, index: int) -> None:
    """Seed torch (dropout) for micro-batch `index` of a step, counted over all ranks.

    So nothing random has to be checkpointed, and the number of ranks does not change it.
    """
    torch.manual_seed(int(np.random.SeedSequence([seed, step, index]).generate_state(1, np.uint32)[0]))


def _forward(run: Run, backend: Backend, batch: Batch) -> Losses:
    def move(value: torch.Tensor | np.ndarray) -> torch.Tensor:
        return torch.as_tensor(value).to(run.ranks.device, non_blocking=True)

    images = (
        {"pixels": normalise(move(batch.squares), run.dataset.encoding.pixels)}
        if run.see is None or batch.features is None
        else {"features": run.see(move(batch.features))}
    )
    targets = {name: run.decoders[name](move(codes)) for name, codes in batch.codes.items()}
    return backend.forward(
        input_ids=move(batch.input_ids),
        labels=move(batch.labels),
        **images,
        targets=targets,
        cu_seq_lens=None if batch.cu_seq_lens is None else torch.as_tensor(batch.cu_seq_lens),
        sizes=None if batch.sizes is None else torch.as_tensor(batch.sizes),
    )
