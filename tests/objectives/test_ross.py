"""ROSS's diffusion and denoiser against independent computation: timm's attention and MLP, loops over steps, draws."""

import math

import pytest
import torch
from timm.layers import Mlp
from timm.models.vision_transformer import Attention

from tests.mllm.test_aligned import DIM, TOKENS, make
from viral.errors import ConfigError
from viral.objectives.denoiser import Denoiser, grid_positions
from viral.objectives.ross import signal_shares


def test_signal_follows_the_clipped_cosine_schedule():
    kept, shares = 1.0, []
    for step in range(1000):
        before, after = (math.cos(((step + k) / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for k in (0, 1))
        kept *= 1 - min(1 - after / before, 0.999)
        shares.append(kept)
    torch.testing.assert_close(signal_shares(), torch.tensor(shares))
    assert signal_shares()[0] > 0.9999
    assert signal_shares()[-1] < 1e-5


def test_positions_tell_column_then_row_as_in_masked_autoencoders():
    dim, rows, columns = 16, 3, 3
    table = grid_positions(rows, columns, dim)
    for row in range(rows):
        for column in range(columns):
            expected = []
            for place in (column, row):
                angles = [place / 10000 ** (index / (dim // 4)) for index in range(dim // 4)]
                expected += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
            torch.testing.assert_close(table[row * columns + column], torch.tensor(expected))


def moved(denoiser: Denoiser) -> Denoiser:
    """With every parameter away from its zero start, so that each takes part."""
    generator = torch.Generator().manual_seed(5)
    for parameter in denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    return denoiser


def test_denoiser_equals_one_made_of_another_librarys_parts():
    width, latent_dim, condition_dim = 32, 6, 10
    denoiser = moved(Denoiser(latent_dim, condition_dim, width, 2, (2, 2), seed=0))
    latents, condition = torch.randn(3, 4, latent_dim), torch.randn(3, 4, condition_dim)
    times = torch.tensor([0, 17, 999])
    half = 128
    frequencies = torch.tensor([math.exp(-math.log(10000) * index / half) for index in range(half)])
    angles = times[:, None] * frequencies
    first, second = denoiser.embed_time[0], denoiser.embed_time[2]
    time = second(torch.nn.functional.silu(first(torch.cat([angles.cos(), angles.sin()], 1))))
    c = time[:, None] + denoiser.embed_condition[1](torch.nn.functional.silu(condition))
    x = denoiser.embed_latents(latents) + grid_positions(2, 2, width)

    def norm(x, shift, scale):
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * (1 + scale) + shift

    for block in denoiser.blocks:
        attention = Attention(width, num_heads=16, qkv_bias=True)
        mlp = Mlp(width, 4 * width, act_layer=lambda: torch.nn.GELU(approximate="tanh"))
        attention.load_state_dict(
            {
                f"{theirs}.{kind}": getattr(part, kind)
                for theirs, part in (("qkv", block.qkv), ("proj", block.out))
                for kind in ("weight", "bias")
            }
        )
        mlp.load_state_dict(
            {
                f"fc{index + 1}.{kind}": getattr(part, kind)
                for index, part in enumerate((block.mlp[0], block.mlp[2]))
                for kind in ("weight", "bias")
            }
        )
        modulation = block.modulation[1](torch.nn.functional.silu(c)).split(width, -1)
        x = x + modulation[2] * attention(norm(x, modulation[0], modulation[1]))
        x = x + modulation[5] * mlp(norm(x, modulation[3], modulation[4]))
    shift, scale = denoiser.modulation[1](torch.nn.functional.silu(c)).split(width, -1)
    expected = denoiser.output(norm(x, shift, scale))
    torch.testing.assert_close(denoiser(latents, times, condition), expected, rtol=1e-4, atol=1e-5)


def test_loss_is_the_error_of_the_predicted_noise_over_four_draws():
    term = make("ross", layers=(4,))
    moved(term.denoiser)
    hidden, latents = torch.randn(2, TOKENS, 48), torch.randn(2, TOKENS, DIM)
    torch.manual_seed(7)
    losses = term({4: hidden}, latents)
    torch.manual_seed(7)
    times = torch.randint(1000, (8,))
    noise = torch.randn(8, TOKENS, DIM)
    naive = torch.zeros(2)
    for draw in range(8):
        image = draw % 2
        share = signal_shares()[times[draw]]
        noisy = share.sqrt() * latents[image] + (1 - share).sqrt() * noise[draw]
        centred = hidden[image] - hidden[image].mean(-1, keepdim=True)
        condition = centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
        predicted = term.denoiser(noisy[None], times[draw, None], condition[None])[0]
        naive[image] += (predicted - noise[draw]).pow(2).mean() / 4
    torch.testing.assert_close(losses, naive)


def test_it_starts_by_predicting_nothing_and_with_the_stated_weights():
    term = make("ross", layers=(4,), denoiser_width=64)
    torch.manual_seed(1)
    losses = term({4: torch.randn(1, TOKENS, 48)}, torch.randn(1, TOKENS, DIM))
    torch.manual_seed(1)
    torch.randn(1, TOKENS, 48), torch.randn(1, TOKENS, DIM)
    torch.randint(1000, (4,))
    torch.testing.assert_close(losses, torch.randn(4, TOKENS, DIM).pow(2).mean().view(1))
    denoiser = term.denoiser
    assert denoiser.embed_condition[1].weight.std().item() == pytest.approx(0.02, rel=0.1)
    limit = math.sqrt(6 / (64 + 3 * 64))  # of Xavier's uniform distribution
    assert 0.9 * limit < denoiser.blocks[0].qkv.weight.abs().max().item() <= limit
    assert all(float(p.abs().max()) == 0 for n, p in denoiser.named_parameters() if n.endswith("bias"))


def test_seeds_fix_it():
    states = [make("ross", layers=(4,), seed=seed).state_dict() for seed in (0, 0, 1)]
    same = [all(torch.equal(states[0][name], other[name]) for name in other) for other in states[1:]]
    assert same == [True, False]


def test_width_has_to_suit_its_heads():
    with pytest.raises(ConfigError, match="denoiser_width=40 is no multiple of its 16 heads"):
        make("ross", layers=(4,), denoiser_width=40)
