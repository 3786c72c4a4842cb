"""What a run's module costs, read off its skeleton on the meta device: memory, checkpoints, operations."""

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from pipelines.training.activations import CHOICES, activation_bytes
from pipelines.training.config import TrainConfig
from pipelines.training.online import online_weights
from pipelines.training.optim import kept, trainable
from viral.mllm.aligned import AlignedMllm
from viral.mllm.block_cost import as_fake, bytes_per_token, count_flops
from viral.mllm.language_loss import POSITION_BYTES
from viral.mllm.student import image_tokens
from viral.mllm.towers import patch_features
from viral.teachers import get_teacher
from viral.teachers.flops import TeacherCost, teacher_cost

ANSWER_TOKENS = 100
"""Of a LLaVA-665K sample, about: those that logits are computed for."""


def memory(config: TrainConfig, module: AlignedMllm, num_ranks: int) -> dict[str, int]:
    """Bytes of one device by kind, activations left out."""
    frozen = sum(_nbytes(p) for p in module.parameters() if not p.requires_grad)
    trained = _count(trainable(module))
    zero = config.zero_stage if config.backend == "deepspeed" else 0
    shares = num_ranks if zero >= 2 else 1
    # What ZeRO-3 shares out: the LLM without its head, and without the embedding that may be the head's weight.
    kept_whole = module.mllm.get_output_embeddings().weight
    llm = sum(
        _nbytes(p)
        for p in module.core.language_model.parameters()
        if not p.requires_grad and p is not kept_whole
    )
    whole = frozen - llm + llm // num_ranks if zero == 3 else frozen
    positions = ANSWER_TOKENS * config.data.micro_batch_size
    if isinstance(config.logits_at_once, int):
        positions = min(positions, config.logits_at_once)
    return {
        "frozen weights": whole,
        # fp32; ZeRO-2 and 3 update masters of their own, and autocast casts what it uses.
        "trained weights": 4 * trained
        + (4 * trained // shares if zero >= 2 else 0)
        + 2 * trained * _casts(config),
        "gradients": 4 * trained // shares,
        "AdamW": 8 * trained // shares,
        "logits": POSITION_BYTES * positions * module.core.config.text_config.vocab_size,
    }


def checkpoint_bytes(module: AlignedMllm) -> int:
    """Bytes of one checkpoint: what is kept, and AdamW's two moments."""
    return 4 * _count(kept(module)) + 8 * _count(trainable(module))


def block_costs(config: TrainConfig, module: AlignedMllm, num_tokens: int) -> tuple[dict[str, int], int, int]:
    """Of the LLM's blocks: bytes kept for a micro-batch by `gradient_checkpointing`, and operations of a sample.

    The operations are those of the forward and of the backward pass.
    """
    model, batch_tokens = module.core.language_model, num_tokens * config.data.micro_batch_size
    depth = len(model.layers)
    with FakeTensorMode():
        as_fake(model.layers[-1])
        as_fake(model.rotary_emb)
        kept_bytes = int(bytes_per_token(model) * batch_tokens)
        forward, backward = count_flops(model, num_tokens)
    inputs = model.config.hidden_size * model.dtype.itemsize * batch_tokens
    names = {0: "none", 1: "full"}
    activations = {
        names.get(every, str(every)): activation_bytes(
            every, num_layers=depth, kept=kept_bytes, inputs=inputs
        )
        for every in CHOICES
    }
    return activations, depth * forward, depth * backward


def flops_beside_blocks(module: AlignedMllm) -> dict[str, int]:
    """Operations of one sample with an image, outside the LLM's blocks; leaves fake tensors in the module."""
    core, sizes = module.core, module.core.config
    image = image_tokens(module.mllm)
    tokens, views, width = image.most, num_views(module), sizes.text_config.hidden_size
    tower = tower_flops(module) if core.vision_tower is not None else 0
    with FakeTensorMode(), FlopCounterMode(display=False) as counter:
        for term in module.loss_terms.values():
            as_fake(term)
            hidden = {layer: torch.zeros(1, tokens, width, requires_grad=True) for layer in term.layers}
            term(hidden, torch.zeros(1, tokens, term.target_dim)).sum().backward()
        terms = counter.get_total_flops()
    without_loss = [term for name, term in module.terms.items() if name not in module.loss_terms]
    beside = [trainable(part) for part in (core.multi_modal_projector, *without_loss)]
    return {
        "tower": tower,
        "projector": sum(6 * views * image.count * _count(parameters) for parameters in beside),
        "logits": 4 * ANSWER_TOKENS * width * sizes.text_config.vocab_size,  # lm_head is frozen
        "terms": terms,
    }


def num_views(module: AlignedMllm) -> int:
    """Squares that the vision tower is shown of a picture, at most."""
    tiling = image_tokens(module.mllm).tiling
    return tiling.most_views if tiling else 1


def tower_flops(module: AlignedMllm) -> int:
    """Operations of the vision tower for an image; leaves fake tensors in it."""
    side = module.core.config.vision_config.image_size
    with FakeTensorMode(), FlopCounterMode(display=False) as counter:
        as_fake(module.core.vision_tower)
        patch_features(module.core, torch.zeros(num_views(module), 3, side, side))
        return int(counter.get_total_flops())


def tower_bytes(module: AlignedMllm) -> int:
    """Bytes of the vision tower."""
    return sum(_nbytes(parameter) for parameter in module.core.vision_tower.parameters())


def online_teachers(config: TrainConfig, views: int) -> dict[str, TeacherCost]:
    """What the teachers that run along take, by the name of their term: bytes, and operations for a picture's `views`.

    Raises:
        WeightsError: the configuration of one that is described by its checkpoint is not at hand.
    """
    found, on_cpu = {}, config.device == "cpu"
    for name, term in config.terms.items():
        if term.online:
            spec = get_teacher(term.teacher or "")
            cost = teacher_cost(spec, online_weights(term), term.profile, on_cpu=on_cpu)
            found[name] = cost._replace(flops=views * cost.flops)
    return found


def _casts(config: TrainConfig) -> int:
    return int(config.precision == "bf16")


def _nbytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.itemsize


def _count(tensors: dict[str, torch.Tensor] | dict[str, nn.Parameter]) -> int:
    return sum(tensor.numel() for tensor in tensors.values())
