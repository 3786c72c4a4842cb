"""The step's losses and gradients against naive computation, and the acceptance checks that concern them."""

import pytest
import torch
import torch.nn.functional as F

from tests import tiny
from viral.data.tokens import IGNORE
from viral.errors import CacheMismatchError
from viral.mllm.aligned import AlignedMllm
from viral.mllm.head import alignment_head
from viral.mllm.lora import PROJECTOR, add_lora
from viral.objectives import Shape, TermSettings, get_objective
from viral.objectives.align import negative_cosine

IMAGE, TOKENS, DIM = 3, tiny.GRID**2, 20


def settings(**changes) -> TermSettings:
    return TermSettings(
        **({"layers": (2,), "head_width": 32, "denoiser_width": 32, "denoiser_depth": 1} | changes)
    )


def make(objective: str, **changes) -> torch.nn.Module:
    entry = get_objective(objective)
    source = changes.setdefault("source", entry.source or "teacher")
    dim = {"teacher": DIM, "tower": 32, "projected": 48}[source]
    shape = Shape(hidden_dim=48, tower_dim=32, target_dim=dim, grid=(tiny.GRID, tiny.GRID))
    return entry.term(settings(**changes), shape)


def build(layer: int = 2, weight: float = 0.5, objective: str = "align", num_layers: int = 4) -> AlignedMllm:
    """With the main term, or none."""
    terms = {} if objective == "none" else {"align": make(objective, layers=(layer,), weight=weight)}
    return wrap(terms, num_layers)


def wrap(terms: dict[str, torch.nn.Module], num_layers: int = 4, averaging: str = "image") -> AlignedMllm:
    adapted = add_lora(tiny.llava(num_layers), rank=4, alpha=8, dropout=0.0, seed=0)
    for name, parameter in adapted.named_parameters():  # B starts at zero; move it, so that gradients reach A
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05, generator=torch.Generator().manual_seed(1))
    return AlignedMllm(adapted, terms, averaging)


def sample(
    question: int = 6, answer: int = 4, image: bool = True, seed: int = 0
) -> tuple[list[int], list[int]]:
    generator = torch.Generator().manual_seed(seed)
    text = torch.randint(4, 400, (question + answer,), generator=generator).tolist()
    ids = [1, *([IMAGE] * TOKENS if image else []), *text]
    return ids, [IGNORE] * (len(ids) - answer) + ids[-answer:]


def batch(*samples: tuple[list[int], list[int]], seed: int = 0, pad_to: int = 0) -> dict[str, torch.Tensor]:
    length = max(pad_to, *(len(ids) for ids, _ in samples))
    num_images = sum(IMAGE in ids for ids, _ in samples)
    generator = torch.Generator().manual_seed(seed)
    return {
        "input_ids": torch.tensor([ids + [0] * (length - len(ids)) for ids, _ in samples]),
        "labels": torch.tensor([labels + [IGNORE] * (length - len(labels)) for _, labels in samples]),
        "pixels": torch.randn(num_images, 3, tiny.SIZE, tiny.SIZE, generator=generator),
        "targets": {"align": torch.randn(num_images, TOKENS, DIM, generator=generator)},
    }


def padding_mask(input_ids: torch.Tensor) -> torch.Tensor:
    return (input_ids != 0).long()


def gradients(module: AlignedMllm) -> dict[str, float]:
    return {
        name: 0.0 if p.grad is None else float(p.grad.abs().max())
        for name, p in module.named_parameters()
        if p.requires_grad
    }


def test_losses_equal_a_naive_computation_with_the_stock_model():
    module = build()
    inputs = batch(sample(5, 3), sample(9, 2, seed=1), sample(4, 3, image=False, seed=2))
    losses = module(**inputs)
    stock = module.mllm.base_model.model
    out = stock(
        input_ids=inputs["input_ids"],
        attention_mask=padding_mask(inputs["input_ids"]),
        pixel_values=inputs["pixels"],
        output_hidden_states=True,
        use_cache=False,
    )
    lm = F.cross_entropy(
        out.logits[:, :-1].flatten(0, 1), inputs["labels"][:, 1:].flatten(), ignore_index=IGNORE
    )
    cosines = []
    for row, target in zip((0, 1), inputs["targets"]["align"], strict=True):
        for position, y in zip((inputs["input_ids"][row] == IMAGE).nonzero().flatten(), target, strict=True):
            p = module.terms["align"].heads[0](out.hidden_states[2][row, position])
            cosines.append((p @ y) / (p.norm() * y.norm()))
    align = -torch.stack(cosines).mean()
    torch.testing.assert_close(losses.lm, lm)
    torch.testing.assert_close(losses.align, align)
    torch.testing.assert_close(losses.total, lm + 0.5 * align)


def test_head_gets_gradient_and_nothing_frozen_does():
    module = build()
    module(**batch(sample())).total.backward()
    found = gradients(module)
    assert all(found[name] > 0 for name in found)
    assert sum(name.startswith("terms.") for name in found) == 6
    assert all(p.grad is None for name, p in module.named_parameters() if not p.requires_grad)


def test_a_frozen_head_gets_none():
    module = build()
    module.terms.requires_grad_(False)
    module(**batch(sample())).total.backward()
    assert all(p.grad is None for p in module.terms.parameters())
    assert all(value > 0 for value in gradients(module).values())


@pytest.mark.parametrize("objective", ["align", "relation", "align_projected"])
@pytest.mark.parametrize("layer", [0, 1, 3, 4])
def test_a_term_reaches_blocks_up_to_its_layer_and_no_further(objective, layer):
    module = build(layer=layer, objective=objective)
    module(**batch(sample())).align.backward()
    for name, value in gradients(module).items():
        if ".layers." in name:
            block = int(name.split(".layers.")[1].split(".")[0]) + 1
            assert (value > 0) == (block <= layer), name
        else:
            assert value > 0, name
    assert all(
        p.grad is None for name, p in module.named_parameters() if "lm_head" in name or "vision_tower" in name
    )


def test_alignment_does_not_see_text_padding_or_text_only_neighbours():
    module = build().eval()
    alone = module(**batch(sample())).align
    inputs = batch(sample(), sample(20, 8, image=False, seed=5), pad_to=80)
    torch.testing.assert_close(module(**inputs).align, alone)
    ids, labels = sample()
    longer = batch((ids + [7] * 12, labels + [7] * 12))
    torch.testing.assert_close(module(**longer).align, alone)


def test_bounds_identity_gives_minus_one():
    hidden = torch.randn(2, TOKENS, DIM)
    torch.testing.assert_close(negative_cosine(hidden, 3.0 * hidden), -torch.ones(2))
    torch.testing.assert_close(negative_cosine(hidden, -hidden), torch.ones(2))


def test_no_gradient_flows_into_the_target():
    target = torch.randn(1, TOKENS, DIM, requires_grad=True)
    make("align")({2: torch.randn(1, TOKENS, 48, requires_grad=True)}, target).sum().backward()
    assert target.grad is None


def test_text_only_batch_has_no_alignment_but_every_trainable_in_the_graph():
    module = build()
    inputs = batch(sample(image=False), sample(image=False, seed=1))
    losses = module(**inputs)
    assert losses.align is None
    assert torch.equal(losses.total, losses.lm)
    losses.total.backward()
    assert all(p.grad is not None for _, p in module.named_parameters() if p.requires_grad)
    assert all(float(p.grad.abs().max()) == 0 for p in module.terms.parameters())
    assert all(value == 0 for name, value in gradients(module).items() if PROJECTOR in name)


def test_a_micro_batch_without_labels_is_finite():
    ids, labels = sample()
    losses = build()(**batch((ids, [IGNORE] * len(labels))))
    assert losses.lm.item() == 0.0
    losses.total.backward()


def test_another_grid_raises_instead_of_being_skipped():
    inputs = batch(sample())
    inputs["targets"]["align"] = inputs["targets"]["align"][:, :-1]
    with pytest.raises(CacheMismatchError, match="on this tower's grid"):
        build()(**inputs)


def test_baseline_has_neither_head_nor_tap():
    module = build(objective="none")
    inputs = batch(sample())
    losses = module(**inputs)
    assert losses.align is None
    assert not any(name.startswith("terms") for name, _ in module.named_parameters())
    torch.testing.assert_close(losses.lm, build()(**inputs).lm)


def test_only_lora_projector_and_head_train():
    trainable = [name for name, p in build().named_parameters() if p.requires_grad]
    assert all("lora_" in name or PROJECTOR in name or name.startswith("terms.") for name in trainable)
    assert not any("vision_tower" in name for name in trainable)
    assert sum("lora_A" in name for name in trainable) == 4 * 7
    assert {p.dtype for p in build().parameters() if p.requires_grad} == {torch.float32}


def test_head_starts_as_the_release_does():
    head = alignment_head(512, 256, 1024)
    for module in head[::2]:
        assert module.weight.std().item() == pytest.approx(0.02, rel=0.02)
        assert module.bias.abs().max().item() == 0.0
