"""CKNNA against the reference's values, against the formula written out densely, and what must not change it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from viral.analysis import cknna as module
from viral.analysis.cknna import cknna, clamped, nearest
from viral.errors import ConfigError, DataError


def golden() -> tuple[torch.Tensor, torch.Tensor]:
    i = torch.arange(32, dtype=torch.float64)
    x = [torch.sin(0.3 * i), torch.cos(0.7 * i), torch.sin(1.1 * i + 0.5), torch.cos(0.05 * i)]
    y = [torch.sin(0.3 * i + 0.2), torch.cos(0.7 * i), torch.cos(0.9 * i)]
    return torch.stack(x, dim=1), torch.stack(y, dim=1)


def value(x: torch.Tensor, y: torch.Tensor, k: int, clamp: float | None = None) -> float:
    return cknna(nearest(x, k, clamp=clamp), nearest(y, k, clamp=clamp))


def dense(x: torch.Tensor, y: torch.Tensor, k: int) -> float:
    """The definition, with whole matrices."""
    kernels = [torch.nn.functional.normalize(z.double(), dim=1) for z in (x, y)]
    kernels = [z @ z.T for z in kernels]
    m = len(x)

    def mask(kernel: torch.Tensor) -> torch.Tensor:
        without_self = kernel.clone().fill_diagonal_(-math.inf)
        return torch.zeros_like(kernel).scatter(1, without_self.topk(k).indices, 1.0)

    def similarity(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        both = mask(a) * mask(b)
        a, b = (both * kernel for kernel in (a, b))
        total = (a * b.T).sum() + a.sum() * b.sum() / ((m - 1) * (m - 2)) - 2 * (a @ b).sum() / (m - 2)
        return total / (m * (m - 3))

    one, other = kernels
    return float(similarity(one, other) / ((similarity(one, one) * similarity(other, other)).sqrt() + 1e-6))


@pytest.mark.parametrize(("k", "expected"), [(5, 0.451692), (10, 0.642261)])
def test_golden_values(k, expected):
    assert value(*golden(), k) == pytest.approx(expected, abs=1e-6)


def test_a_space_is_aligned_with_itself():
    x, _ = golden()
    assert value(x, x, 5) == pytest.approx(0.999988, abs=1e-6)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), k=st.sampled_from([2, 5, 19]))
def test_it_is_the_dense_formula(seed, k):
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(20, dim, generator=generator) for dim in (6, 9))
    y[:, :6] += x
    assert value(x, y, k) == pytest.approx(dense(x, y, k), abs=1e-9)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000), scale=st.floats(0.01, 100))
def test_rotation_scale_and_order_of_samples_change_nothing(seed, scale):
    generator = torch.Generator().manual_seed(seed)
    x, y = golden()
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64))
    order = torch.randperm(32, generator=generator)
    assert value(scale * x @ rotation, y, 5) == pytest.approx(value(x, y, 5), abs=1e-6)
    assert value(x[order], y[order], 5) == pytest.approx(value(x, y, 5), abs=1e-9)


def test_blocks_of_rows_give_the_whole(monkeypatch):
    x, y = golden()
    whole = value(x, y, 5)
    monkeypatch.setattr(module, "BLOCK", 7)
    assert value(x, y, 5) == pytest.approx(whole, abs=1e-12)


def test_unrelated_spaces_are_not_aligned():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(200, 16, generator=generator) for _ in range(2))
    assert abs(value(x, y, 10)) < 0.15


def test_clamping_tames_a_massive_channel():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 32, generator=generator)
    spoiled = x.clone()
    spoiled[:3, 0] = 1e4
    assert value(x, spoiled, 5, clamp=0.95) > value(x, spoiled, 5) + 0.05


def test_clamped_cuts_at_the_quantile_of_magnitudes():
    values = torch.arange(-9.0, 11.0).reshape(4, 5)
    assert clamped(values, None) is values
    cut = clamped(values, 0.5)
    assert cut.abs().max() == sorted(values.abs().flatten().tolist())[10]
    assert torch.equal(cut.sign(), values.sign())


@pytest.mark.parametrize(
    ("features", "k", "clamp", "error", "message"),
    [
        (torch.zeros(8, 3), 8, None, ConfigError, "2 to 7 neighbours"),
        (torch.zeros(8, 3), 1, None, ConfigError, "2 to 7 neighbours"),
        (torch.ones(8, 3), 2, 1.0, ConfigError, "between 0 and 1"),
        (torch.zeros(3, 3), 2, None, DataError, "at least 4 samples"),
        (torch.full((8, 3), torch.nan), 2, None, DataError, "NaN"),
    ],
)
def test_what_has_no_neighbours(features, k, clamp, error, message):
    with pytest.raises(error, match=message):
        nearest(features, k, clamp=clamp)


def test_spaces_of_other_samples():
    with pytest.raises(DataError, match="the same samples"):
        cknna(nearest(torch.randn(8, 3), 2), nearest(torch.randn(9, 3), 2))
