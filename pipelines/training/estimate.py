"""What a run will be before it starts: what it trains, steps, memory, disk and time, from configurations alone.

No weights are loaded and nothing is written. Figures are computed, but for the rate of this machine's matrix product.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from pipelines.annotation_cache import open_annotations
from pipelines.training import costs
from pipelines.training.caches import Caches, needs_cache, open_caches, target_dims
from pipelines.training.config import DTYPES, TrainConfig
from pipelines.training.modules import build_module
from pipelines.training.optim import is_projector, trainable
from pipelines.training.setup import micro_batches_per_rank
from pipelines.training.targets import check_geometry
from pipelines.training.tiled import check_tiled
from pipelines.training.vision import open_vision
from stores.space import free_bytes
from viral.data.index import AnnotationIndex
from viral.device import matmul_rate, pick_device
from viral.errors import DataError
from viral.mllm.aligned import MAIN, AlignedMllm
from viral.mllm.skeleton import assembled_skeleton, llava_skeleton
from viral.mllm.student import image_tokens

TEXT_TOKENS = 200
"""Of a LLaVA-665K sample, about; assumed where the annotations are not at hand."""
TOKENS_PER_WORD = 4 / 3


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters that learn at one rate."""

    name: str
    parameters: int
    lr: float


@dataclass(frozen=True, slots=True)
class Spared:
    """What a vision cache saves: the tower's weights, and its operations for an image."""

    bytes: int
    flops: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """Bytes, floating-point operations (two for each multiply-add) and seconds."""

    name: str
    trained: list[Group]
    frozen_parameters: int
    num_samples: int | None
    """None: the annotations are not at hand; so for `num_steps` and `seconds`, unless `optim.max_steps` is set."""
    num_steps: int | None
    batch_size: int
    recipe_batch_size: int
    micro_batch_size: int
    num_ranks: int
    num_micro: int
    """Micro-batches of a rank in a step."""
    tokens_per_sample: int
    memory: dict[str, int]
    """Of one device, activations left out."""
    spared: Spared | None
    """None: the tower looks at images."""
    activations: dict[str, int]
    """Of one device by `gradient_checkpointing`, for a micro-batch of samples of mean length."""
    checkpoint_bytes: int
    disk_bytes: int
    """Of all checkpoints kept, and the one being written."""
    disk_free: int
    sample_flops: dict[str, int]
    """`recompute`: once more the forward pass, which gradient_checkpointing=full adds."""
    tflops: float
    """Of one device, 10^12 operations a second."""
    tflops_source: str
    step_seconds: float
    """Without recomputation, at that rate."""
    seconds: float | None
    missing: list[str]
    """What was not at hand, a line each."""


def estimate(
    config: TrainConfig,
    caches: Caches,
    output: Path,
    *,
    vision_cache: Path | None = None,
    num_ranks: int,
    recipe_batch_size: int,
    tflops: float | None = None,
) -> Estimate:
    """Estimate a run on `num_ranks` devices of `tflops` each (None: what a matrix product reaches here).

    Raises:
        ConfigError, WeightsError, CacheMismatchError, StoreError: as the run itself would.
    """
    config, missing = config.resolved(), list[str]()
    num_micro = micro_batches_per_rank(config, num_ranks)
    samples = _samples(config, missing)
    module = skeleton(config, caches, missing, vision_cache)
    teachers = costs.online_teachers(config, costs.num_views(module))
    image = image_tokens(module.mllm)
    if image.tiling:
        missing.append(
            f"the sizes of images; each is taken for one of {image.most} tokens, as large squares are"
        )
    tokens = _tokens_per_sample(config, samples, image.most)
    spared = Spared(costs.tower_bytes(module), costs.tower_flops(module)) if vision_cache else None
    if spared:
        module.core.vision_tower = None
    memory, checkpoint = costs.memory(config, module, num_ranks), costs.checkpoint_bytes(module)
    memory |= {f"teacher {name}": teacher.bytes for name, teacher in teachers.items()}
    groups = _groups(config, module)
    frozen = sum(p.numel() for p in module.parameters() if not p.requires_grad)
    activations, forward, backward = costs.block_costs(config, module, tokens)
    beside = costs.flops_beside_blocks(module)
    beside |= {f"teacher {name}": teacher.flops for name, teacher in teachers.items()}
    flops = {"blocks, forward": forward, "blocks, backward": backward, **beside, "recompute": forward}
    steps = _num_steps(config, samples)
    source = "stated" if tflops else "of a matrix product here; a step reaches less"
    tflops = tflops or matmul_rate(pick_device(config.device), DTYPES[config.precision]) / 1e12
    work = (sum(flops.values()) - forward) * config.data.batch_size / num_ranks
    saved = config.keep_last if steps is None else min(config.keep_last, -(-steps // config.save_every))
    return Estimate(
        name=config.name,
        trained=groups,
        frozen_parameters=frozen,
        num_samples=None if samples is None else len(samples),
        num_steps=steps,
        batch_size=config.data.batch_size,
        recipe_batch_size=recipe_batch_size,
        micro_batch_size=config.data.micro_batch_size,
        num_ranks=num_ranks,
        num_micro=num_micro,
        tokens_per_sample=tokens,
        memory=memory,
        spared=spared,
        activations=activations,
        checkpoint_bytes=checkpoint,
        disk_bytes=checkpoint * (saved + 1),
        disk_free=free_bytes(output),
        sample_flops=flops,
        tflops=tflops,
        tflops_source=source,
        step_seconds=work / (1e12 * tflops),
        seconds=None if steps is None else steps * work / (1e12 * tflops),
        missing=missing,
    )


def skeleton(
    config: TrainConfig, caches: Caches, missing: list[str], vision_cache: Path | None = None
) -> AlignedMllm:
    """The run's module on the meta device, its tower too; what is not at hand is added to `missing`.

    Raises:
        ConfigError, WeightsError, CacheMismatchError, StoreError: as the run itself would.
    """
    parts, dtype = config.model, DTYPES[config.precision]
    if parts.llava is not None:
        model = llava_skeleton(parts.llava, dtype)
    else:
        model = assembled_skeleton(str(parts.llm), str(parts.tower), dtype, parts.tiles)
    image = image_tokens(model)
    if image.tiling:
        check_tiled(config, with_vision=vision_cache is not None)
    if vision_cache:
        open_vision(vision_cache, config).check_architecture(model)
    terms = {name: term for name, term in config.terms.items() if needs_cache(term)}
    given = {MAIN: caches} if isinstance(caches, Path) else dict(caches or {})
    missing += [
        f"the cache of {name} (--cache); the width of {term.teacher} is taken"
        for name, term in terms.items()
        if name not in given
    ]
    opened = open_caches(given, {n: t for n, t in config.terms.items() if n in given or n not in terms})
    for name, teacher in opened.items():
        if teacher.is_target:
            check_geometry(teacher.store, teacher.path, terms[name], image, config.data.image_mode)
    # fp32: without autocast, which the meta device has not; recomputation is estimated apart.
    plain = {"precision": "fp32", "gradient_checkpointing": "none", "compile": False}
    with torch.device("meta"):
        return build_module(config.model_copy(update=plain), model, target_dims(config.terms, opened))


def _samples(config: TrainConfig, missing: list[str]) -> AnnotationIndex | None:
    try:
        return open_annotations(config.data.annotation_files)
    except DataError as error:
        if any(path.exists() for path in config.data.annotation_files):
            raise
        missing.append(f"annotations: {error}")
        return None


def _num_steps(config: TrainConfig, samples: AnnotationIndex | None) -> int | None:
    return config.optim.max_steps if samples is None else config.num_steps(len(samples))


def _tokens_per_sample(config: TrainConfig, samples: AnnotationIndex | None, image: int) -> int:
    if samples is None:
        return min(config.data.max_length, image + TEXT_TOKENS)
    mean = samples.num_words.mean() * TOKENS_PER_WORD + samples.num_images.mean() * image
    return int(min(config.data.max_length, mean))


def _groups(config: TrainConfig, module: AlignedMllm) -> list[Group]:
    sizes: dict[str, int] = {}
    for name, parameter in trainable(module).items():
        inside = "projector" if is_projector(name) else "LoRA"
        group = inside if name.startswith("mllm.") else f"head of {name.split('.')[1]}"
        sizes[group] = sizes.get(group, 0) + parameter.numel()
    rates = {"projector": config.optim.projector_lr}
    return [Group(name, size, rates.get(name, config.optim.lr)) for name, size in sizes.items()]
