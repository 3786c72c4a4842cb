"""Reinjection (acceptance check 10): where it adds what; in training, under checkpointing, beside a key-value cache."""

import pytest
import torch

from tests import tiny
from tests.mllm.test_aligned import IMAGE, TOKENS, batch, gradients, make, sample, wrap
from viral.data.images import CLIP_MEAN, CLIP_STD, PixelSpec
from viral.data.tokens import ImageTokens
from viral.errors import ConfigError
from viral.mllm.generate import greedy
from viral.mllm.student import Student
from viral.mllm.towers import patch_features
from viral.mllm.visual import VisualTokens

KINDS = [("reinject_post", "image"), ("reinject_post", "all"), ("reinject_pre", "image")]


def features_and_embeds(model, given):
    """The stock model's own: the tower's features, and the decoder's input."""
    with torch.no_grad():
        features = model.vision_tower(given["pixels"], output_hidden_states=True).hidden_states[-2][:, 1:]
        embeds = model.get_input_embeddings()(given["input_ids"])
        is_image = given["input_ids"] == IMAGE
        embeds[is_image] = model.multi_modal_projector(features).flatten(0, 1)
    return features, embeds, is_image


def naive_states(model, embeds, added, layers):
    """Block by block, adding after each of `layers`; the last state is normed."""
    positions = torch.arange(embeds.shape[1])[None]
    rotary = model.language_model.rotary_emb(embeds, positions)
    mask = torch.full((embeds.shape[1],) * 2, float("-inf")).triu(1)[None, None]
    hidden = embeds
    for index, block in enumerate(model.language_model.layers, start=1):
        hidden = block(hidden, attention_mask=mask, position_embeddings=rotary)
        if index in layers:
            hidden = hidden + added
    return model.language_model.norm(hidden)


@pytest.mark.parametrize(("kind", "scope"), KINDS)
@pytest.mark.parametrize("layers", [(2,), (1, 4)])
def test_it_adds_after_its_blocks_what_the_equation_says(kind, scope, layers):
    term = make(kind, scope=scope, layers=layers, adapter_init="random")
    module = wrap({"align": term}).eval()
    given = batch(sample(), sample(3, 2, seed=1))
    features, embeds, is_image = features_and_embeds(module.core, given)
    added = torch.zeros_like(embeds)
    if kind == "reinject_pre":
        added[is_image] = term.adapter(features).flatten(0, 1)
    else:
        added = embeds.clone() if scope == "all" else embeds * is_image[..., None]
    seen = {}
    hook = module.core.language_model.register_forward_hook(lambda _m, _a, out: seen.update(out=out[0]))
    with torch.no_grad():
        losses = module(**given)
        hook.remove()
        # The stock model without hooks: every block called by hand, which fires this term's hook on the block too.
        for block in module.core.language_model.layers:
            block._forward_hooks.clear()
        expected = naive_states(module.core, embeds, added, layers)
    lengths = (given["input_ids"] != 0).sum(1)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(seen["out"][row, :length], expected[row, :length], atol=1e-5, rtol=1e-4)
    assert losses.terms == {}
    assert torch.equal(losses.total, losses.lm)


@pytest.mark.parametrize(("kind", "scope"), KINDS)
def test_gradients_are_those_without_checkpointing(kind, scope):
    found = []
    for checkpointing in (False, True):
        module = wrap({"align": make(kind, scope=scope, adapter_init="random")}).train()
        module.core.vision_tower.eval()
        if checkpointing:
            module.mllm.activation_checkpointing_enable({"use_reentrant": False})
        module(**batch(sample(), sample(image=False, seed=1))).total.backward()
        found.append({name: p.grad for name, p in module.named_parameters() if p.requires_grad})
        assert all(value > 0 for value in gradients(module).values())
    for name in found[0]:
        torch.testing.assert_close(found[0][name], found[1][name])


def student_with(kind: str, scope: str, layer: int = 2) -> Student:
    model = tiny.llava()
    make(kind, scope=scope, layers=(layer,), adapter_init="random").attach(model.model)
    pixels = PixelSpec(size=tiny.SIZE, mean=CLIP_MEAN, std=CLIP_STD)
    return Student(model, tiny.tokenizer(), pixels, ImageTokens(id=IMAGE, count=TOKENS))


@pytest.mark.parametrize(("kind", "scope"), KINDS)
def test_logits_with_a_cache_equal_those_without(kind, scope):
    model = student_with(kind, scope).model
    ids, _ = sample(8, 4)
    ids, pixels = torch.tensor([ids]), torch.randn(1, 3, tiny.SIZE, tiny.SIZE)
    prompt = ids.shape[1] - 4
    with torch.no_grad():
        whole = model(input_ids=ids, pixel_values=pixels, use_cache=False).logits
        state = model(input_ids=ids[:, :prompt], pixel_values=pixels, use_cache=True)
        steps = [state.logits[:, -1]]
        for position in range(prompt, ids.shape[1] - 1):
            state = model(
                input_ids=ids[:, position : position + 1],
                past_key_values=state.past_key_values,
                use_cache=True,
            )
            steps.append(state.logits[:, -1])
        plain = tiny.llava()(input_ids=ids, pixel_values=pixels, use_cache=False).logits
    torch.testing.assert_close(torch.stack(steps, 1), whole[:, prompt - 1 : -1], atol=1e-4, rtol=1e-4)
    assert (plain - whole).abs().max() > 1e-3


@pytest.mark.parametrize(("kind", "scope"), KINDS)
def test_batched_generation_equals_one_at_a_time(kind, scope):
    student = student_with(kind, scope)
    prompts = [sample(5, 3)[0], sample(9, 3, seed=1)[0]]
    pixels = torch.randn(2, 3, tiny.SIZE, tiny.SIZE, generator=torch.Generator().manual_seed(2))
    features = patch_features(student.model.model, pixels)
    together = greedy(student, prompts, features, 5)
    alone = [greedy(student, [prompts[row]], features[row : row + 1], 5)[0] for row in range(2)]
    assert together == alone


def test_zero_adapter_leaves_the_model_as_it_was():
    given = batch(sample())
    torch.testing.assert_close(
        wrap({"align": make("reinject_pre")}).eval()(**given).lm, wrap({}).eval()(**given).lm
    )


def test_alignment_sees_the_reinjected_state():
    """The next block sees it, so a tap on the same layer does."""
    terms = {"align": make("reinject_post"), "also": make("align", layers=(2,))}
    module = wrap(terms).eval()
    given = batch(sample())
    given["targets"] = {"also": given["targets"]["align"]}
    with_it = module(**given).terms["also"]
    without = wrap({"align": terms["also"]}).eval()(
        **(given | {"targets": {"align": given["targets"]["also"]}})
    )
    assert not torch.allclose(with_it, without.align)


def test_it_has_no_place_before_the_first_block():
    with pytest.raises(ConfigError, match="layer 0 is none"):
        wrap({"align": make("reinject_post", layers=(0,))})


def test_image_scope_adds_nothing_to_text():
    embeds = torch.randn(1, 4, 48)
    visual = VisualTokens(torch.tensor([[False, True, True, False]]))
    added = make("reinject_post").addition(embeds, visual, None)
    assert torch.equal(added[0, [1, 2]], embeds[0, [1, 2]])
    assert not added[0, [0, 3]].any()
