"""Turn a configuration into the pieces of a run, refusing early what would fail late."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from pipelines.annotation_cache import open_annotations
from pipelines.training.backends import resolve_backend
from pipelines.training.caches import CachedTeacher, Caches, needs_teacher, open_caches, target_dims
from pipelines.training.config import DTYPES, TrainConfig
from pipelines.training.inputs import describe_inputs
from pipelines.training.modules import build_module, build_student
from pipelines.training.online import OnlineTeacher, load_online
from pipelines.training.optim import build_optimizer, trainable
from pipelines.training.ranks import Ranks, alone
from pipelines.training.samples import build_encoding, sample_lengths, usable_samples
from pipelines.training.targets import Decoder, check_geometry
from pipelines.training.terms import is_cosine
from pipelines.training.tiled import check_tiled
from pipelines.training.vision import VisionCache, open_vision
from pipelines.workers import PREFETCH, fits_shared_memory, leave_signals_to_parent
from viral.data.dataset import Example, InstructionDataset, collate
from viral.data.index import AnnotationIndex
from viral.data.sampler import SampleOrder
from viral.errors import ConfigError, DataError
from viral.mllm.aligned import MAIN, AlignedMllm
from viral.mllm.packing import use_packing
from viral.mllm.student import Student

log = logging.getLogger(__name__)
VISION = "vision cache"
"""Beside the names of terms, which have no blanks."""


@dataclass(slots=True)
class Run:
    """All that the loop drives."""

    config: TrainConfig
    ranks: Ranks
    module: AlignedMllm
    optimizer: torch.optim.AdamW
    samples: AnnotationIndex
    dataset: InstructionDataset
    pad_token_id: int
    num_steps: int
    num_micro: int
    """Micro-batches of this rank in a step."""
    decoders: dict[str, Decoder]
    """Of each term with a teacher."""
    see: Decoder | None
    """Of the tower's cached features; None: the tower looks at pixels."""
    kappas: dict[str, float]
    """What the codec leaves of the cosine, for each term whose loss is one."""
    image_bytes: int
    """Of what travels from a loading process for one view of an image."""
    most_views: int
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
        most_images = data.micro_batch_size * int(samples.num_images.max())
        shared = fits_shared_memory(most_images * self.most_views * self.image_bytes, data.num_workers)
        return DataLoader(
            self.dataset,
            batch_sampler=order.micro_batches(first_step, self.num_steps, self.ranks.rank, self.ranks.size),
            collate_fn=partial(collate, pad_token_id=self.pad_token_id, shared=shared, pack=data.pack),
            num_workers=data.num_workers,
            prefetch_factor=PREFETCH if data.num_workers else None,
            worker_init_fn=leave_signals_to_parent,
            pin_memory=self.ranks.device.type == "cuda",
        )


def build_run(
    config: TrainConfig, caches: Caches, ranks: Ranks | None = None, *, vision_cache: Path | None = None
) -> Run:
    """Load the student, check caches and data against it, add LoRA and the terms.

    With `vision_cache` the student's tower is replaced by a store of its features.

    Raises:
        ConfigError, DataError, WeightsError, CacheMismatchError, StoreError: whatever does not fit.
    """
    ranks = ranks or alone(config.device)
    resolve_backend(config.backend, ranks.size)
    num_micro, device = micro_batches_per_rank(config, ranks.size), ranks.device
    cached = open_caches(caches, config.terms)
    _refuse_unread(cached, config)
    vision = open_vision(vision_cache, config) if vision_cache else None
    samples, keys = _samples(config, cached, vision)
    student = build_student(
        config.model, device=str(device), dtype=DTYPES[config.precision], seed=config.seed
    )
    grid, tiling = student.image.grid, student.image.tiling
    if tiling:
        check_tiled(config, with_vision=vision is not None)
    for name, teacher in cached.items():
        if teacher.is_target:
            check_geometry(
                teacher.store, teacher.path, config.terms[name], student.image, config.data.image_mode
            )
    if vision:
        vision.take_over(student)
    module = build_module(config, student.model, target_dims(config.terms, cached))
    optimizer = build_optimizer(module, config.optim)
    if config.data.pack:
        use_packing(module.core.language_model)
    teachers = _teachers(config, cached, student)
    run = Run(
        config=config,
        ranks=ranks,
        module=module,
        optimizer=optimizer,
        samples=samples,
        dataset=InstructionDataset(
            samples,
            config.data.images,
            build_encoding(config.data, student),
            {name: teacher.source(keys.get(name) if vision else None) for name, teacher in teachers.items()},
            vision.source(keys[VISION]) if vision else None,
        ),
        pad_token_id=student.tokenizer.pad_token_id,
        num_steps=config.num_steps(len(samples)),
        num_micro=num_micro,
        decoders={name: teacher.decoder(device, grid) for name, teacher in teachers.items()},
        see=vision.decoder(device, getattr(torch, DTYPES[config.precision])) if vision else None,
        kappas={
            name: teachers[name].kappa if name in teachers else 1.0
            for name, term in config.terms.items()
            if is_cosine(term)
        },
        image_bytes=(vision.store.manifest.spec.record_bytes if vision else 3 * student.pixels.size**2)
        + sum(teacher.record_bytes for teacher in teachers.values()),
        most_views=tiling.most_views if tiling else 1,
        inputs=describe_inputs(samples) | _origins(cached, teachers, vision),
    )
    _log_plan(run)
    return run


def _refuse_unread(cached: Mapping[str, CachedTeacher], config: TrainConfig) -> None:
    """A cache beside a teacher that runs along says no more than which images cannot be used."""
    if MAIN in cached and config.align.online and config.data.on_bad_image != "skip":
        raise ConfigError(
            "align.online=true makes its targets itself, so those of --cache would not be read; leave out one of both."
        )


def _samples(
    config: TrainConfig, cached: Mapping[str, CachedTeacher], vision: VisionCache | None
) -> tuple[AnnotationIndex, dict[str, dict[str, str]]]:
    """The samples that every cache allows, and how each cache calls their images."""
    caches = {name: (teacher.path, teacher.store) for name, teacher in cached.items()}
    if vision:
        caches[VISION] = vision.path, vision.store
    needs_files = vision is None or any(term.online for term in config.terms.values())
    samples = open_annotations(config.data.annotation_files)
    samples, keys = usable_samples(samples, config.data, caches, need_files=needs_files)
    _require_enough(samples, config)
    return samples, keys


def _teachers(
    config: TrainConfig, cached: Mapping[str, CachedTeacher], student: Student
) -> dict[str, CachedTeacher | OnlineTeacher]:
    """Of every term that has one, in the order of the terms; those that run here are loaded now."""
    return {
        name: load_online(term, student, config.data.image_mode) if term.online else cached[name]
        for name, term in config.terms.items()
        if needs_teacher(term)
    }


def _origins(
    cached: Mapping[str, CachedTeacher],
    teachers: Mapping[str, CachedTeacher | OnlineTeacher],
    vision: VisionCache | None,
) -> dict[str, Any]:
    """Where targets and features come from, for the record."""
    main = cached.get(MAIN)
    origins = {
        "cache": main.describe() if main else None,
        VISION: vision.describe() if vision else None,
    }
    origins |= {f"cache {name}": teacher.describe() for name, teacher in cached.items() if name != MAIN}
    return origins | {
        f"teacher {name}": teacher.describe()
        for name, teacher in teachers.items()
        if isinstance(teacher, OnlineTeacher)
    }


def micro_batches_per_rank(config: TrainConfig, num_ranks: int) -> int:
    """Micro-batches of each rank in a step.

    Raises:
        ConfigError: the batch does not split evenly; names batches that do.
    """
    together = config.data.micro_batch_size * num_ranks
    count, rest = divmod(config.data.batch_size, together)
    if rest:
        near = ", ".join(str(together * n) for n in (count, count + 1) if n)
        raise ConfigError(
            f"data.batch_size={config.data.batch_size} does not split over {num_ranks} ranks x "
            f"data.micro_batch_size={config.data.micro_batch_size}; set data.batch_size to {near}, "
            "or another data.micro_batch_size or number of ranks."
        )
    return count


def _require_enough(samples: AnnotationIndex, config: TrainConfig) -> None:
    if config.terms and not samples.num_images.any():
        raise DataError("No sample with a usable image is left, so there is nothing to align.")
    if samples.num_unanswered == len(samples):
        raise DataError("No sample has an answer, so there is nothing to learn; look at data.annotations.")
    if len(samples) < config.data.batch_size:
        raise ConfigError(
            f"{len(samples)} usable samples do not fill one batch; lower data.batch_size={config.data.batch_size}."
        )


def _log_plan(run: Run) -> None:
    data, samples, ranks = run.config.data, run.samples, run.ranks.size
    sizes = [parameter.numel() for parameter in trainable(run.module).values()]
    log.info(
        "%d samples (%d text only, %d without an answer); global batch %d = %d samples x %d ranks x %d micro-batches; "
        "%d steps (%d an epoch); training %.2f M parameters in %d tensors",
        len(samples), int((samples.num_images == 0).sum()), samples.num_unanswered,
        data.batch_size, data.micro_batch_size, ranks, run.num_micro,
        run.num_steps, len(samples) // data.batch_size, sum(sizes) / 1e6, len(sizes),
    )  # fmt: skip
