"""Recomputation: what is measured, and what is chosen."""

import pytest
import torch

from pipelines.training.activations import fewest, set_checkpointing
from tests.mllm.test_aligned import build
from viral.mllm.block_cost import bytes_per_token, count_flops


def test_bytes_of_a_token_leave_weights_out():
    model = build().train().core.language_model
    width = model.config.hidden_size
    inputs = 4 * width * 4  # at the least the inputs of q, gate, down and the residual
    assert inputs < bytes_per_token(model) < 20 * inputs
    exact = bytes_per_token(model)
    with torch.autocast("cpu", torch.bfloat16):  # casts weights, which do not grow with tokens
        assert bytes_per_token(model) < 1.5 * exact


def test_operations_of_a_block():
    """Frozen weights need one product in the backward pass, LoRA's two; attention comes on top."""
    model = build().train().core.language_model
    frozen = sum(p.numel() for p in model.layers[-1].parameters() if p.ndim == 2 and not p.requires_grad)
    lora = sum(p.numel() for p in model.layers[-1].parameters() if p.requires_grad)
    forward, backward = count_flops(model, 64)
    assert 2 * 64 * (frozen + lora) <= forward < 3 * 64 * (frozen + lora)
    assert 2 * 64 * (frozen + 2 * lora) <= backward < 4 * 64 * (frozen + 2 * lora)


def test_the_estimate_is_what_backward_keeps():
    """Between one block fewer and one more, the activations of a whole forward differ by the estimate."""
    module = build().train()
    model = module.core.language_model
    embeds = torch.zeros(1, 64, model.config.hidden_size, requires_grad=True)

    def kept_by(num_layers: int) -> int:
        storages = {}

        def count(tensor: torch.Tensor) -> torch.Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
            return tensor

        layers = model.layers
        model.layers = layers[:num_layers]
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            model(inputs_embeds=embeds, use_cache=False)
        model.layers = layers
        weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        return sum(storage.nbytes() for address, storage in storages.items() if address not in weights)

    assert kept_by(3) - kept_by(2) == pytest.approx(64 * bytes_per_token(model), rel=0.1)


@pytest.mark.parametrize(
    ("free", "every"), [(38_000, 0), (37_000, 4), (29_000, 3), (26_000, 2), (20_000, 1), (0, 1)]
)
def test_the_fewest_that_fit(free: int, every: int):
    """32 blocks of 1000 bytes, inputs of 10: none recomputed needs 32000, every 4th 25080, 3rd 22110,
    2nd 17160; 15 % of what is free stays free.
    """
    assert fewest(free, num_layers=32, kept=1000, inputs=10) == every


@pytest.mark.parametrize(("setting", "recomputed"), [("none", 0), ("full", 4), (2, 2), (3, 2), ("auto", 4)])
def test_settings_reach_the_llms_blocks_alone(setting, recomputed: int):
    module = build()
    set_checkpointing(module, setting, num_tokens=64)
    layers = module.core.language_model.layers
    assert sum(layer.gradient_checkpointing for layer in layers) == recomputed
    assert not any(layer.gradient_checkpointing for layer in module.core.vision_tower.encoder.layers)
