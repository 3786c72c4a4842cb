"""Layer l means the output of block l; the last is post-norm; 0 is the input (acceptance check 4)."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from tests import tiny
from viral.analysis.layers import visual_tokens
from viral.data.tokens import ImageTokens
from viral.errors import ConfigError
from viral.mllm.student import load_student
from viral.mllm.tap import LayerTap, layer_indices


@pytest.fixture(scope="module")
def language_model():
    return tiny.llava(num_layers=4).model.language_model


@pytest.mark.parametrize("layer", range(5))
def test_tap_equals_hidden_states(language_model, layer):
    embeds = torch.randn(2, 9, 48, generator=torch.Generator().manual_seed(0))
    tap = LayerTap(language_model, (layer,))
    output = language_model(inputs_embeds=embeds, output_hidden_states=True, use_cache=False)
    tapped = tap.take()[layer]
    assert torch.equal(tapped, output.hidden_states[layer])
    if layer == 0:
        assert torch.equal(tapped, embeds)
    if layer == 4:
        assert torch.equal(tapped, output.last_hidden_state)


def test_blocks_recomputed_by_hand(language_model):
    embeds = torch.randn(1, 5, 48)
    tap = LayerTap(language_model, (2, 4))
    language_model(inputs_embeds=embeds, use_cache=False)
    taken = tap.take()
    positions = torch.arange(5)[None]
    rotary = language_model.rotary_emb(embeds, positions)
    mask = torch.full((5, 5), float("-inf")).triu(1)[None, None]
    hidden = embeds
    for index, block in enumerate(language_model.layers, start=1):
        hidden = block(hidden, attention_mask=mask, position_embeddings=rotary)
        if index == 2:
            torch.testing.assert_close(taken[2], hidden)
    torch.testing.assert_close(taken[4], language_model.norm(hidden))
    assert not torch.allclose(taken[4], hidden)


@pytest.mark.parametrize("reentrant", [True, False])
def test_tap_survives_gradient_checkpointing(reentrant):
    gradients = []
    for checkpointing in (False, True):
        model = tiny.llava().model.language_model.train()
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": reentrant})
        tap = LayerTap(model, (2,))
        embeds = torch.randn(1, 6, 48, generator=torch.Generator().manual_seed(1)).requires_grad_()
        model(inputs_embeds=embeds, use_cache=False)
        tap.take()[2].pow(2).sum().backward()
        gradients.append(model.layers[0].mlp.up_proj.weight.grad)
    torch.testing.assert_close(gradients[0], gradients[1])


def test_taking_forgets(language_model):
    tap = LayerTap(language_model, (1,))
    language_model(inputs_embeds=torch.randn(1, 3, 48), use_cache=False)
    assert set(tap.take()) == {1}
    assert tap.take() == {}


def hooks_of(model) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_a_closed_tap_leaves_no_hook():
    model = tiny.llava().model.language_model
    before = hooks_of(model)
    with LayerTap(model, (0, 2, 4)) as tap:
        assert hooks_of(model) == before + 3
        model(inputs_embeds=torch.randn(1, 3, 48), use_cache=False)
    assert hooks_of(model) == before
    assert tap.take() == {}
    with pytest.raises(ConfigError):
        LayerTap(model, (1, 5))
    assert hooks_of(model) == before


def test_visual_tokens_leave_no_hook_even_if_they_fail(llava_dir):
    student = load_student(str(llava_dir))
    decoder = student.model.model.language_model
    before = hooks_of(decoder)
    picture = Image.new("RGB", (40, 30), (90, 120, 30))
    assert visual_tokens(student, [picture], 2).shape == (1, 16, 48)
    assert hooks_of(decoder) == before
    with pytest.raises(ValueError, match="image"):
        visual_tokens(replace(student, image=ImageTokens(id=student.image.id, count=15)), [picture], 2)
    assert hooks_of(decoder) == before


@pytest.mark.parametrize("layer", [-1, 5])
def test_a_layer_that_is_not_there(language_model, layer):
    with pytest.raises(ConfigError, match=r"layers 0 \(input\) to 4"):
        LayerTap(language_model, (layer,))


@pytest.mark.parametrize(
    ("layer", "depth", "expected"),
    [
        (16, 32, (16,)), (16, 40, (16,)), (0.5, 32, (16,)), (0.5, 40, (20,)), (0.5, 28, (14,)), (0.5, 5, (3,)),
        (1.0, 28, (28,)), (0.0, 4, (0,)), ([15, 16, 17], 32, (15, 16, 17)), ([0.25, 8], 12, (3, 8)),
    ],
)  # fmt: skip
def test_integers_are_indices_and_floats_fractions_of_the_depth(layer, depth, expected):
    assert layer_indices(layer, depth) == expected


@pytest.mark.parametrize("layer", [33, [], [16, 0.5], -1, 1.5])
def test_layers_that_do_not_exist_or_come_twice(layer):
    with pytest.raises(ConfigError):
        layer_indices(layer, 32)
