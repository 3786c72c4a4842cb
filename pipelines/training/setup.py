"""Turn a configuration into the pieces of a run, refusing early what would fail late."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader

from pipelines.training.backends import Backend, get_backend
from pipelines.training.caches import Caches, open_caches
from pipelines.training.config import ModelConfig, TrainConfig
from pipelines.training.inputs import describe_cache, describe_inputs
from pipelines.training.optim import build_optimizer, trainable
from pipelines.training.samples import usable_samples
from pipelines.training.targets import Decoder, check_grid, make_decoder
from pipelines.training.terms import build_terms, is_cosine
from pipelines.workers import PREFETCH, fits_shared_memory, leave_signals_to_parent
from viral.data.annotations import Sample, read_annotations
from viral.data.conversation import get_template
from viral.data.dataset import Encoding, Example, InstructionDataset, collate
from viral.data.sampler import micro_batches
from viral.device import pick_device
from viral.errors import ConfigError, DataError
from viral.mllm.aligned import MAIN, AlignedMllm
from viral.mllm.assemble import assemble_student
from viral.mllm.lora import add_lora
from viral.mllm.student import Student, load_student

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
    dataset: InstructionDataset
    pad_token_id: int
    num_steps: int
    decoders: dict[str, Decoder]
    """Of each term with cached targets."""
    kappas: dict[str, float]
    """What the codec leaves of the cosine, for each term whose loss is one."""
    record_bytes: int
    """Of one image's cached codes, all terms together."""
    inputs: dict[str, Any]
    """What the run is made from, as `inputs.json` records it."""

    def loader(self, first_step: int) -> DataLoader[Example | Exception]:
        """Micro-batches from `first_step` on, in the order that (seed, step, rank) fixes."""
        data, samples = self.config.data, self.dataset.samples
        batches = micro_batches(
            [sample.num_words for sample in samples],
            [sample.image is not None for sample in samples],
            global_batch=data.batch_size,
            micro_batch=data.micro_batch_size,
            seed=self.config.seed,
            first_step=first_step,
            last_step=self.num_steps,
            rank=self.backend.rank,
            world_size=self.backend.world_size,
        )
        batch_bytes = data.micro_batch_size * (3 * self.dataset.encoding.pixels.size**2 + self.record_bytes)
        shared = fits_shared_memory(batch_bytes, data.num_workers)
        return DataLoader(
            self.dataset,
            batch_sampler=list(batches),
            collate_fn=partial(collate, pad_token_id=self.pad_token_id, shared=shared),
            num_workers=data.num_workers,
            prefetch_factor=PREFETCH if data.num_workers else None,
            worker_init_fn=leave_signals_to_parent,
            pin_memory=self.device.type == "cuda",
        )


def build_run(config: TrainConfig, caches: Caches) -> Run:
    """Load the student, check caches and data against it, add LoRA and the terms.

    Raises:
        ConfigError, DataError, WeightsError, CacheMismatchError, StoreError: whatever does not fit.
    """
    device = pick_device(config.device)
    teachers = open_caches(caches, config.terms)
    targets = {name: teacher for name, teacher in teachers.items() if teacher.is_target}
    backend_class = get_backend(config.backend)
    samples = read_annotations(config.data.annotations)
    for teacher in teachers.values() or [None]:
        path, store = (teacher.path, teacher.store) if teacher else (None, None)
        samples = usable_samples(samples, config.data, path, store)
    _require_enough(samples, config)
    main = teachers.get(MAIN)
    inputs = describe_inputs(
        config.data.annotations, samples, main.path if main else None, main.store if main else None
    )
    inputs |= {f"cache {name}": describe_cache(t.path, t.store) for name, t in teachers.items() if t != main}
    student = build_student(config.model, device=str(device), dtype=DTYPES[config.precision])
    specs = {name: target.store.manifest.spec for name, target in targets.items()}
    for name, target in targets.items():
        check_grid(target.store, target.path, config.terms[name], student.image.grid)
    module = build_module(config, student, {name: spec.dim for name, spec in specs.items()})
    optimizer = build_optimizer(module, config.optim)
    encoding = Encoding(
        tokenizer=student.tokenizer,
        template=get_template(config.data.template),
        image=student.image,
        pixels=student.pixels,
        max_length=config.data.max_length,
    )
    backend = backend_class(module, optimizer)
    run = Run(
        config=config,
        device=device,
        module=module,
        optimizer=optimizer,
        backend=backend,
        dataset=InstructionDataset(
            samples, config.data.images, encoding, {name: target.target for name, target in targets.items()}
        ),
        pad_token_id=student.tokenizer.pad_token_id,
        num_steps=config.optim.max_steps
        or config.optim.num_epochs * (len(samples) // config.data.batch_size),
        decoders={
            name: make_decoder(target.store, device, student.image.grid) for name, target in targets.items()
        },
        kappas={
            name: targets[name].store.manifest.kappa if name in targets else 1.0
            for name, term in config.terms.items()
            if is_cosine(term)
        },
        record_bytes=sum(spec.record_bytes for spec in specs.values()),
        inputs=inputs,
    )
    _log_plan(run)
    return run


def _require_enough(samples: list[Sample], config: TrainConfig) -> None:
    if config.terms and not any(sample.image for sample in samples):
        raise DataError("No sample with a usable image is left, so there is nothing to align.")
    if len(samples) < config.data.batch_size:
        raise ConfigError(
            f"{len(samples)} usable samples do not fill one batch; lower data.batch_size={config.data.batch_size}."
        )


def _log_plan(run: Run) -> None:
    data, ranks = run.config.data, run.backend.world_size
    num_micro = data.batch_size // (data.micro_batch_size * ranks)
    sizes = [parameter.numel() for parameter in trainable(run.module).values()]
    log.info(
        "%d samples; global batch %d = %d samples x %d ranks x %d micro-batches; %d steps (%d an epoch); "
        "training %.2f M parameters in %d tensors",
        len(run.dataset), data.batch_size, data.micro_batch_size, ranks, num_micro, run.num_steps,
        len(run.dataset) // data.batch_size, sum(sizes) / 1e6, len(sizes),
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


def build_module(config: TrainConfig, student: Student, target_dims: Mapping[str, int]) -> AlignedMllm:
    """LoRA inside the student, the terms beside it, all in training mode where they train."""
    adapted = add_lora(
        student.model,
        rank=config.lora.rank,
        alpha=config.lora.alpha,
        dropout=config.lora.dropout,
        seed=config.seed,
    )
    if config.gradient_checkpointing:
        adapted.activation_checkpointing_enable({"use_reentrant": False})
    terms = build_terms(config.terms, student, target_dims, config.seed)
    module = AlignedMllm(adapted, terms, config.align.resolved().averaging or "image")
    module.train()
    module.core.vision_tower.eval()
    return module
