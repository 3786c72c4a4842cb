"""A packed row gives the losses and gradients of the padded batch, whatever attention that uses."""

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlavaForConditionalGeneration, Qwen2Config

from tests import tiny
from viral.data.dataset import Batch, Example, collate
from viral.data.images import PixelSpec, normalise
from viral.data.tokens import IGNORE
from viral.errors import ConfigError
from viral.mllm.aligned import MAIN, AlignedMllm, Losses
from viral.mllm.lora import add_lora
from viral.mllm.packing import segments, use_packing
from viral.objectives import Shape, TermSettings
from viral.objectives.align import Align

IMAGE, TOKENS, DIM = 3, tiny.GRID**2, 20
FAMILIES = {"llama": LlamaConfig, "qwen2": Qwen2Config}


def build(family: str = "llama", attention: str = "sdpa", checkpointing: bool = False) -> AlignedMllm:
    """A student with alignment; `attention=packed` is ours, the weights are the same for all."""
    config = tiny.llava_config()
    shape = {
        name: getattr(config.text_config, name) for name in ("hidden_size", "intermediate_size", "vocab_size")
    }
    config.text_config = FAMILIES[family](
        **shape, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    adapted = add_lora(LlavaForConditionalGeneration(config), rank=4, alpha=8, dropout=0.0, seed=0)
    for name, parameter in adapted.named_parameters():  # B starts at zero; move it, so that gradients reach A
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05, generator=torch.Generator().manual_seed(1))
    if checkpointing:
        adapted.activation_checkpointing_enable({"use_reentrant": False})
    shape = Shape(hidden_dim=48, tower_dim=32, target_dim=DIM, grid=(tiny.GRID, tiny.GRID))
    module = AlignedMllm(adapted, {MAIN: Align(TermSettings(layers=(2,), head_width=32), shape)}).train()
    if attention == "packed":
        use_packing(module.core.language_model)
    else:
        module.core.language_model.set_attn_implementation(attention)
    return module


def example(question: int, answer: int, images: int, seed: int) -> Example:
    rng = np.random.default_rng(seed)
    text = rng.integers(4, 400, question + answer).tolist()
    ids = [1, *[IMAGE] * (TOKENS * images), *text]
    squares = [rng.integers(0, 256, (tiny.SIZE, tiny.SIZE, 3), np.uint8) for _ in range(images)]
    codes = {MAIN: [rng.standard_normal((TOKENS, DIM), np.float32) for _ in range(images)]}
    return Example(str(seed), ids, [IGNORE] * (len(ids) - answer) + text[-answer:], squares, codes, False)


EXAMPLES = [example(6, 4, 1, 1), example(30, 9, 0, 2), example(3, 1, 2, 3), example(9, 5, 1, 4)]


def run(module: AlignedMllm, examples: list[Example], pack: bool) -> Losses:
    batch = collate(list(examples), pad_token_id=0, pack=pack)
    assert isinstance(batch, Batch)
    return module(
        input_ids=batch.input_ids,
        labels=batch.labels,
        pixels=normalise(batch.squares, PixelSpec(size=tiny.SIZE)),
        targets=batch.codes,
        cu_seq_lens=batch.cu_seq_lens,
    )


def gradients(module: AlignedMllm) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in module.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_losses_and_gradients_equal_those_of_padded_rows(family, attention):
    padded, packed = build(family, attention), build(family, "packed")
    expected, found = run(padded, EXAMPLES, pack=False), run(packed, EXAMPLES, pack=True)
    for name in ("total", "lm", "align"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=0, atol=2e-6)
    expected.total.backward()
    found.total.backward()
    ours = gradients(packed)
    for name, gradient in gradients(padded).items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=2e-6, msg=name)
        assert gradient.abs().max() > 0, name


def test_checkpointing_changes_nothing():
    plain, checkpointed = build(attention="packed"), build(attention="packed", checkpointing=True)
    for module in (plain, checkpointed):
        run(module, EXAMPLES, pack=True).total.backward()
    torch.testing.assert_close(gradients(checkpointed), gradients(plain))


def test_a_row_without_images_and_one_of_a_single_sample():
    padded, packed = build(), build(attention="packed")
    for examples in ([EXAMPLES[1]], [EXAMPLES[1], example(4, 2, 0, 9)], [EXAMPLES[0]]):
        torch.testing.assert_close(run(packed, examples, True).total, run(padded, examples, False).total)


def test_tokens_are_weighted_as_without_packing():
    """The loss is the mean over the supervised tokens of the micro-batch, not over samples."""
    module = build(attention="packed")
    alone = [run(module, [one], True).lm * labels_of(one) for one in EXAMPLES]
    expected = sum(alone) / sum(map(labels_of, EXAMPLES))
    torch.testing.assert_close(run(module, EXAMPLES, True).lm, expected)


def labels_of(one: Example) -> int:
    return sum(label != IGNORE for label in one.labels)


def test_the_first_token_of_a_sample_is_predicted_by_none():
    """Without a system sentence it may be supervised; the sample before it must not learn to say it."""
    bare = Example("bare", [7, 8, 9], [7, 8, 9], [], [], False)
    torch.testing.assert_close(
        run(build(attention="packed"), [bare, bare], True).lm, run(build(), [bare, bare], False).lm
    )


def test_samples_do_not_see_each_other_even_with_a_cache():
    module = build(attention="packed")
    language_model = module.core.language_model
    lengths = torch.tensor([0, 5, 12], dtype=torch.int32)
    first, second, other = (torch.randn(1, size, 48) for size in (5, 7, 7))

    def hidden(*parts: torch.Tensor, use_cache: bool) -> torch.Tensor:
        bounds = segments(lengths[: len(parts) + 1], torch.device("cpu"))
        return language_model(
            inputs_embeds=torch.cat(parts, 1), use_cache=use_cache, **bounds
        ).last_hidden_state

    for use_cache in (False, True):
        row = hidden(first, second, use_cache=use_cache)
        torch.testing.assert_close(row[:, :5], hidden(first, use_cache=False))
        changed = hidden(first, other, use_cache=use_cache)
        assert torch.equal(row[:, :5], changed[:, :5])
        assert not torch.allclose(row[:, 5:], changed[:, 5:])


def test_it_does_not_run_without_being_told_where_samples_begin():
    with pytest.raises(TypeError, match="cu_seq_lens_q"):
        run(build(attention="packed"), EXAMPLES, pack=False)


def test_an_attention_it_does_not_know_is_refused():
    module = build("qwen2")
    module.core.language_model.config.sliding_window = 8
    with pytest.raises(ConfigError, match=r"set data.pack=false"):
        use_packing(module.core.language_model)


def test_a_row_whose_labels_are_all_ignored_is_finite():
    silent = Example("s", EXAMPLES[1].input_ids, [IGNORE] * len(EXAMPLES[1].labels), [], [], False)
    for pack, module in ((True, build(attention="packed")), (False, build())):
        losses = run(module, [silent, silent], pack)
        assert losses.lm.item() == 0.0
        losses.total.backward()
        assert all(torch.isfinite(gradient).all() for gradient in gradients(module).values())


@pytest.mark.gpu
@pytest.mark.parametrize("family", FAMILIES)
def test_one_kernel_for_all_segments_equals_one_by_one(family):
    module = build(family, "packed").to("cuda")
    language_model, sizes = module.core.language_model.bfloat16(), (40, 7, 90)
    bounds = torch.tensor([0, *np.cumsum(sizes)], dtype=torch.int32)
    parts = [torch.randn(1, size, 48, device="cuda", dtype=torch.bfloat16) for size in sizes]

    def hidden(lengths: torch.Tensor, embeds: torch.Tensor) -> torch.Tensor:
        return language_model(inputs_embeds=embeds, **segments(lengths, embeds.device)).last_hidden_state

    alone = [hidden(torch.tensor([0, part.shape[1]], dtype=torch.int32), part) for part in parts]
    together = hidden(bounds, torch.cat(parts, 1))
    torch.testing.assert_close(together, torch.cat(alone, 1), rtol=2e-2, atol=2e-2)


def test_images_of_one_sample_are_aligned_each_with_its_own_target():
    """Against the stock model and cosines one by one: two images in a sample, one in the next."""
    module, examples = build(), [EXAMPLES[2], EXAMPLES[0]]
    head = module.terms[MAIN].head(0)
    batch = collate(list(examples), pad_token_id=0)
    hidden_BLD = module.mllm.base_model.model(
        input_ids=batch.input_ids,
        attention_mask=(batch.input_ids != 0).long(),
        pixel_values=normalise(batch.squares, PixelSpec(size=tiny.SIZE)),
        output_hidden_states=True,
        use_cache=False,
    ).hidden_states[2]
    cosines = []
    for image, (row, start) in enumerate(((0, 1), (0, 1 + TOKENS), (1, 1))):
        for token in range(TOKENS):
            predicted, target = head(hidden_BLD[row, start + token]), batch.codes[MAIN][image, token]
            cosines.append((predicted @ target) / (predicted.norm() * target.norm()))
    torch.testing.assert_close(run(module, examples, pack=False).align, -torch.stack(cosines).mean())
