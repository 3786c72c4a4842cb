"""Turn a configuration into the pieces of a run, refusing early what would fail late."""

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from pipelines.annotation_cache import open_annotations
from pipelines.training.backends import Backend, get_backend
from pipelines.training.config import ModelConfig, TrainConfig
from pipelines.training.inputs import describe_inputs
from pipelines.training.optim import build_optimizer, trainable
from pipelines.training.samples import build_encoding, sample_lengths, usable_samples
from pipelines.training.targets import Decoder, check_grid, make_decoder, open_targets
from pipelines.workers import PREFETCH, fits_shared_memory, leave_signals_to_parent
from viral.data.dataset import Example, InstructionDataset, collate
from viral.data.index import AnnotationIndex
from viral.data.keys import content_key, key_function
from viral.data.sampler import SampleOrder
from viral.device import pick_device
from viral.errors import ConfigError, DataError
from viral.mllm.aligned import AlignedMllm
from viral.mllm.assemble import assemble_student
from viral.mllm.head import alignment_head
from viral.mllm.lora import add_lora
from viral.mllm.packing import use_packing
from viral.mllm.student import Student, load_student
from viral.objectives import get_objective

log = logging.getLogger(__name__)
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}


@dataclass(slots=True)
class Run:
    """All that the loop drives."""

    config: TrainConfig
    device: torch.device
    module: AlignedMllm
    optimizer: torch.optim.AdamW
    backend: Backend
    samples: AnnotationIndex
    dataset: InstructionDataset
    pad_token_id: int
    num_steps: int
    decoder: Decoder | None
    kappa: float
    record_bytes: int
    """Of one image's cached codes."""
    inputs: dict[str, Any]
    """What the run is made from, as `inputs.json` records it."""

    def loader(self, first_step: int) -> DataLoader[Example | Exception]:
        """Micro-batches from `first_step` on, in the order that (seed, step, rank) fixes."""
        data, samples = self.config.data, self.samples
        order = SampleOrder(
            sample_lengths(samples, self.dataset.encoding.image.count),
            samples.num_images > 0,
            global_batch=data.batch_size,
            micro_batch=data.micro_batch_size,
            seed=self.config.seed,
            grouping=data.grouping,
        )
        pixel_bytes = 3 * self.dataset.encoding.pixels.size**2
        most_images = data.micro_batch_size * int(samples.num_images.max())
        shared = fits_shared_memory(most_images * (pixel_bytes + self.record_bytes), data.num_workers)
        return DataLoader(
            self.dataset,
            batch_sampler=order.micro_batches(
                first_step, self.num_steps, self.backend.rank, self.backend.world_size
            ),
            collate_fn=partial(collate, pad_token_id=self.pad_token_id, shared=shared, pack=data.pack),
            num_workers=data.num_workers,
            prefetch_factor=PREFETCH if data.num_workers else None,
            worker_init_fn=leave_signals_to_parent,
            pin_memory=self.device.type == "cuda",
        )


def build_run(config: TrainConfig, cache: Path | None) -> Run:
    """Load the student, check cache and data against it, add LoRA and head.

    Raises:
        ConfigError, DataError, WeightsError, CacheMismatchError, StoreError: whatever does not fit.
    """
    device = pick_device(config.device)
    objective = get_objective(config.align.objective)
    if objective and cache is None:
        raise ConfigError(
            f"align.objective={config.align.objective} needs cached targets; give --cache PATH "
            "(made by `viral cache build`), or set align.objective=none for a baseline."
        )
    backend_class = get_backend(config.backend)
    samples = open_annotations(config.data.annotation_files)
    store = open_targets(cache, config.align) if cache else None
    samples = usable_samples(samples, config.data, cache, store)
    _require_enough(samples, config)
    inputs = describe_inputs(samples, cache, store)
    student = build_student(config.model, device=str(device), dtype=DTYPES[config.precision])
    if objective is None:
        store = None  # a baseline takes from a cache only the list of images it could not use
    if store and cache:
        check_grid(store, cache, student.image.count)
    module = build_module(config, student, store.manifest.spec.dim if store else None)
    optimizer = build_optimizer(module, config.optim)
    if config.data.pack:
        use_packing(module.core.language_model)
    encoding = build_encoding(config.data, student)
    key_of = key_function(store.manifest.spec.fingerprint) if store else content_key
    backend = backend_class(module, optimizer)
    run = Run(
        config=config,
        device=device,
        module=module,
        optimizer=optimizer,
        backend=backend,
        samples=samples,
        dataset=InstructionDataset(samples, config.data.images, encoding, store, key_of),
        pad_token_id=student.tokenizer.pad_token_id,
        num_steps=config.optim.max_steps
        or config.optim.num_epochs * (len(samples) // config.data.batch_size),
        decoder=make_decoder(store, device) if store else None,
        kappa=store.manifest.kappa if store else 1.0,
        record_bytes=store.manifest.spec.record_bytes if store else 0,
        inputs=inputs,
    )
    _log_plan(run)
    return run


def _require_enough(samples: AnnotationIndex, config: TrainConfig) -> None:
    if config.align.objective != "none" and not samples.num_images.any():
        raise DataError("No sample with a usable image is left, so there is nothing to align.")
    if len(samples) < config.data.batch_size:
        raise ConfigError(
            f"{len(samples)} usable samples do not fill one batch; lower data.batch_size={config.data.batch_size}."
        )


def _log_plan(run: Run) -> None:
    data, ranks = run.config.data, run.backend.world_size
    num_micro = data.batch_size // (data.micro_batch_size * ranks)
    sizes = [parameter.numel() for parameter in trainable(run.module).values()]
    samples = run.samples
    log.info(
        "%d samples (%d text only, %d without an answer); global batch %d = %d samples x %d ranks x %d micro-batches; "
        "%d steps (%d an epoch); training %.2f M parameters in %d tensors",
        len(samples), int((samples.num_images == 0).sum()), samples.num_unanswered,
        data.batch_size, data.micro_batch_size, ranks, num_micro,
        run.num_steps, len(samples) // data.batch_size, sum(sizes) / 1e6, len(sizes),
    )  # fmt: skip


def build_student(config: ModelConfig, *, device: str, dtype: str) -> Student:
    """One LLaVA folder, or the parts joined.

    Raises:
        WeightsError: something is missing or does not fit.
    """
    if config.llava is not None:
        return load_student(config.llava, device=device, dtype=dtype)
    assert config.llm is not None
    assert config.tower is not None
    assert config.projector is not None
    return assemble_student(config.llm, config.tower, config.projector, device=device, dtype=dtype)


def build_module(config: TrainConfig, student: Student, target_dim: int | None) -> AlignedMllm:
    """LoRA inside the student, the alignment head beside it, both in training mode where they train."""
    align, hidden_dim = config.align, student.model.config.text_config.hidden_size
    adapted = add_lora(
        student.model,
        rank=config.lora.rank,
        alpha=config.lora.alpha,
        dropout=config.lora.dropout,
        seed=config.seed,
    )
    if config.gradient_checkpointing:
        adapted.activation_checkpointing_enable({"use_reentrant": False})
    head = None
    if target_dim is not None:
        head = alignment_head(hidden_dim, target_dim, align.head_width, config.seed)
        head.requires_grad_(align.trains_head).to(student.model.device)
    module = AlignedMllm(adapted, head, get_objective(align.objective), align.layer, align.weight)
    module.train()
    module.core.vision_tower.eval()
    return module
