"""Muon: the step is orthogonal, whatever the gradient's shape, and it minimises."""

import pytest
import torch
import torch.nn.functional as F

from viral.microworld.pretrain.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(24, 24), (24, 72), (72, 24)])
def test_singular_values_are_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 1e-3
    values = torch.linalg.svdvals(orthogonal(matrix))
    assert values.min() > 0.3
    assert values.max() < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    assert F.cosine_similarity(orthogonal(matrix).flatten(), (left @ right).flatten(), dim=0) > 0.9


def test_it_learns_a_linear_map() -> None:
    torch.manual_seed(0)
    weight, gold = torch.nn.Parameter(torch.zeros(16, 16)), torch.randn(16, 16)
    optimizer = Muon([weight], lr=0.05)
    losses = []
    for _ in range(200):
        x = torch.randn(32, 16)
        loss = (x @ (weight - gold)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]
