"""Every loss against an independent, naive computation: one image, one layer, one token at a time."""

import pytest
import torch
import torch.nn.functional as F

from tests.mllm.test_aligned import DIM, TOKENS, batch, gradients, make, sample, wrap
from viral.errors import ConfigError
from viral.objectives.relation import similarities


def inputs(num_images: int = 2, seed: int = 0) -> tuple[dict[int, torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    hidden = {layer: torch.randn(num_images, TOKENS, 48, generator=generator) for layer in (1, 2, 3)}
    return hidden, torch.randn(num_images, TOKENS, DIM, generator=generator)


def cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a * b).sum() / (a.pow(2).sum().sqrt() * b.pow(2).sum().sqrt())


@pytest.mark.parametrize("separate", [False, True])
def test_align_over_layers_with_shared_or_separate_heads(separate):
    hidden, target = inputs()
    term = make("align", layers=(1, 3), separate_heads=separate)
    assert len(term.heads) == (2 if separate else 1)
    for image, loss in enumerate(term(hidden, target)):
        naive = [
            -cosine(term.heads[index if separate else 0](hidden[layer][image, token]), target[image, token])
            for index, layer in enumerate((1, 3))
            for token in range(TOKENS)
        ]
        torch.testing.assert_close(loss, torch.stack(naive).mean())


@pytest.mark.parametrize("use_head", [False, True])
def test_relation_is_the_mean_squared_difference_of_all_cosines(use_head):
    hidden, target = inputs()
    term = make("relation", use_head=use_head)
    assert len(term.heads) == use_head
    for image, loss in enumerate(term(hidden, target)):
        tokens = term.heads[0](hidden[2][image]) if use_head else hidden[2][image]
        total = 0.0
        for i in range(TOKENS):
            for j in range(TOKENS):
                total += (cosine(tokens[i], tokens[j]) - cosine(target[image, i], target[image, j])) ** 2
        torch.testing.assert_close(loss, total / TOKENS**2)


def test_relation_is_zero_for_equal_relations_and_blind_to_rotations():
    """Acceptance check 6."""
    hidden, target = inputs()
    term = make("relation", use_head=False)
    rotation, _ = torch.linalg.qr(torch.randn(48, 48, generator=torch.Generator().manual_seed(3)))
    assert term(hidden, hidden[2]).abs().max() < 1e-10
    assert term(hidden, 5.0 * hidden[2] @ rotation).abs().max() < 1e-10
    turned = {2: hidden[2] @ rotation}
    torch.testing.assert_close(term(turned, target), term(hidden, target))
    assert (term(hidden, target) > 0.01).all()


def test_relation_keeps_fp32_under_autocast():
    hidden, target = inputs()
    term = make("relation", use_head=False)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(term(hidden, target), term(hidden, target))
        assert similarities(target).dtype == torch.bfloat16  # what would happen without care
        inside = term(hidden, target)
    assert torch.equal(inside, term(hidden, target))


def test_align_projected_stops_the_gradient_unless_told_otherwise():
    hidden, _ = inputs()
    for stop in (True, False):
        target = torch.randn(2, TOKENS, 48, requires_grad=True)
        term = make("align_projected", stop_gradient=stop)
        assert term.source == "projected"
        loss = term(hidden, target)
        naive = -F.cosine_similarity(term.heads[0](hidden[2]), target, dim=-1).mean(1)
        torch.testing.assert_close(loss, naive)
        loss.sum().backward()
        assert (target.grad is None) == stop


def test_align_projected_targets_what_the_projector_gave_in_a_whole_step():
    module = wrap({"align": make("align_projected", layers=(3,))}).eval()
    given = batch(sample(), sample(seed=1))
    losses = module(**given)
    core = module.core
    with torch.no_grad():
        features = core.vision_tower(given["pixels"], output_hidden_states=True).hidden_states[-2][:, 1:]
        projected = core.multi_modal_projector(features)
        out = module.mllm(
            input_ids=given["input_ids"], pixel_values=given["pixels"], output_hidden_states=True
        )
        tokens = out.hidden_states[3][given["input_ids"] == 3].view(2, TOKENS, -1)
        naive = -F.cosine_similarity(module.terms["align"].heads[0](tokens), projected, dim=-1).mean()
    torch.testing.assert_close(losses.align, naive)
    torch.testing.assert_close(losses.total, losses.lm + 0.5 * naive)


def test_the_towers_own_features_as_target_need_no_cache():
    module = wrap({"align": make("align", source="tower")}).eval()
    given = batch(sample(), sample(seed=1))
    losses = module(**(given | {"targets": {}}))
    with torch.no_grad():
        features = module.visual_features(given["pixels"])
        out = module.mllm(
            input_ids=given["input_ids"], pixel_values=given["pixels"], output_hidden_states=True
        )
        tokens = out.hidden_states[2][given["input_ids"] == 3].view(2, TOKENS, -1)
        naive = -F.cosine_similarity(module.terms["align"].heads[0](tokens), features, dim=-1).mean()
    torch.testing.assert_close(losses.align, naive)


def test_several_teachers_add_up_with_their_weights():
    terms = {
        "align": make("align", layers=(1, 2), weight=0.5),
        "sam": make("relation", layers=(3,), weight=0.25),
        "own": make("align", source="tower", layers=(4,), weight=2.0),
    }
    module = wrap(terms).eval()
    given = batch(sample(), sample(4, 2, image=False), sample(seed=1))
    given["targets"]["sam"] = torch.randn(2, TOKENS, DIM)
    losses = module(**given)
    assert list(losses.terms) == list(terms)
    expected = losses.lm + sum(term.weight * losses.terms[name] for name, term in terms.items())
    torch.testing.assert_close(losses.total, expected)
    for name in terms:  # each by itself
        alone = wrap({"align": terms[name]}).eval()(
            **(given | {"targets": {"align": given["targets"].get(name)}})
        )
        torch.testing.assert_close(alone.align, losses.terms[name])


EVERY = ("align", "relation", "align_projected", "ross", "reinject_post", "reinject_pre")


@pytest.mark.parametrize("objective", EVERY)
@pytest.mark.parametrize("images", [True, False])
def test_everything_trainable_is_in_the_graph_with_and_without_images(objective, images):
    layer = 4 if objective == "ross" else 2
    module = wrap({"align": make(objective, layers=(layer,), adapter_init="random")})
    losses = module(**batch(sample(image=images), sample(image=False, seed=1)))
    losses.total.backward()
    assert bool(losses.total.isfinite())
    assert all(p.grad is not None for p in module.parameters() if p.requires_grad)
    assert all(p.grad is None for name, p in module.named_parameters() if not p.requires_grad)
    if not images:
        assert losses.terms == {}
        assert torch.equal(losses.total, losses.lm)
        beside = {name: value for name, value in gradients(module).items() if name.startswith("terms.")}
        assert not any(beside.values())


def test_release_averages_over_samples_of_one_image_and_counts_the_rest():
    """Two images in one sample are 1152 image tokens, and the release only knows 576."""
    one, two = sample(), sample(seed=1)
    block = one[0][1 : 1 + TOKENS]
    two = (two[0][:1] + block + two[0][1:], two[1][:1] + [-100] * TOKENS + two[1][1:])
    text = sample(image=False, seed=2)
    given = batch(two, one, text)
    generator = torch.Generator().manual_seed(9)
    given["pixels"] = torch.randn(3, 3, 28, 28, generator=generator)
    given["targets"] = {"align": torch.randn(3, TOKENS, DIM, generator=generator)}
    term = make("align")
    paper, release = wrap({"align": term}).eval(), wrap({"align": term}, averaging="release").eval()
    lone = batch(one)
    lone["pixels"], lone["targets"] = given["pixels"][2:], {"align": given["targets"]["align"][2:]}
    losses = release(**given)
    torch.testing.assert_close(losses.align, release(**lone).align)
    torch.testing.assert_close(losses.lm, paper(**given).lm)
    assert (losses.skipped, paper(**given).skipped) == (2, 0)
    assert not torch.allclose(paper(**given).align, losses.align)
    only_two = batch(two)
    only_two["pixels"], only_two["targets"] = given["pixels"][:2], {"align": given["targets"]["align"][:2]}
    losses = release(**only_two)
    assert (losses.terms, losses.skipped) == ({}, 2)
    losses.total.backward()
    assert all(p.grad is not None for p in release.parameters() if p.requires_grad)


def test_a_frozen_term_gets_no_gradient():
    for objective in ("align", "relation", "ross"):
        module = wrap({"align": make(objective, layers=(4,), train_head=False)})
        module(**batch(sample())).total.backward()
        assert all(p.grad is None for p in module.terms.parameters()), objective


def test_ross_takes_one_layer():
    with pytest.raises(ConfigError, match="one layer"):
        make("ross", layers=(1, 2))
