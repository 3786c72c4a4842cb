"""From a configuration to the modules that are trained: the student, and around it the one that a step runs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from pipelines.training.activations import set_checkpointing
from pipelines.training.config import ModelConfig, TrainConfig
from pipelines.training.terms import build_terms
from viral.mllm.aligned import AlignedMllm
from viral.mllm.assemble import assemble_student
from viral.mllm.language_loss import positions_at_once
from viral.mllm.lora import add_lora, train_projector_only
from viral.mllm.student import Student, load_student

if TYPE_CHECKING:
    from peft import PeftModel

    from viral.mllm.student import Llava


def build_student(config: ModelConfig, *, device: str, dtype: str, seed: int) -> Student:
    """One LLaVA folder, or the parts joined; `seed` is for a random projector.

    Raises:
        WeightsError: something is missing or does not fit.
    """
    if config.llava is not None:
        return load_student(config.llava, device=device, dtype=dtype)
    assert config.llm is not None
    assert config.tower is not None
    assert config.projector is not None
    return assemble_student(
        config.llm, config.tower, config.projector, tiles=config.tiles, device=device, dtype=dtype, seed=seed
    )


def build_module(config: TrainConfig, model: "Llava", target_dims: Mapping[str, int]) -> AlignedMllm:
    """LoRA inside the model, the terms beside it, all in training mode where they train."""
    adapted = _make_trainable(model, config)
    terms = build_terms(config.terms, model, target_dims, config.seed)
    module = AlignedMllm(
        adapted,
        terms,
        config.align.resolved().averaging or "image",
        positions_at_once(config.logits_at_once, model.config.text_config.vocab_size, model.device),
    )
    module.train()
    if (tower := module.core.vision_tower) is not None:
        tower.eval()
    if config.precision == "bf16":
        # Inside the module, for DeepSpeed switches off what is around it.
        module.forward = torch.autocast(model.device.type, torch.bfloat16)(module.forward)  # type: ignore[method-assign]
    set_checkpointing(
        module,
        config.gradient_checkpointing,
        num_tokens=config.data.micro_batch_size * config.data.max_length,
    )
    if config.compile:
        for block in module.core.language_model.layers:
            block.compile()
    return module


def _make_trainable(model: "Llava", config: TrainConfig) -> "PeftModel | Llava":
    if (lora := config.lora) is None:
        train_projector_only(model)
        return model
    return add_lora(model, rank=lora.rank, alpha=lora.alpha, dropout=lora.dropout, seed=config.seed)
