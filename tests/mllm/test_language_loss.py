"""The loss in parts is the loss at once, and holds logits of a part only."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from viral.mllm.language_loss import POSITION_BYTES, SHARE, language_loss, memory_of, positions_at_once

WIDTH, VOCAB = 8, 50


def make(num: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, nn.Linear]:
    torch.manual_seed(seed)
    head = nn.Linear(WIDTH, VOCAB, bias=False).requires_grad_(False)
    return torch.randn(num, WIDTH, requires_grad=True), torch.randint(0, VOCAB, (num,)), head


def loss_and_gradient(hidden: torch.Tensor, labels: torch.Tensor, head: nn.Module, at_once: int):
    hidden = hidden.detach().requires_grad_()
    loss = language_loss(hidden, labels, head, at_once)
    (3 * loss).backward()
    return loss.detach(), hidden.grad


@given(num=st.integers(1, 40), at_once=st.integers(1, 45), seed=st.integers(0, 9))
def test_parts_of_any_size_give_the_plain_loss_and_gradient(num: int, at_once: int, seed: int):
    hidden, labels, head = make(num, seed)
    expected = F.cross_entropy(head(hidden), labels)
    (3 * expected).backward()
    loss, gradient = loss_and_gradient(hidden, labels, head, at_once)
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradient, hidden.grad, rtol=1e-5, atol=1e-7)


def test_in_bf16_too():
    hidden, labels, head = make(30)
    head.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        (whole, by_whole), (parts, by_parts) = (loss_and_gradient(hidden, labels, head, n) for n in (30, 7))
    assert whole.dtype == parts.dtype == by_parts.dtype == torch.float32
    torch.testing.assert_close(parts, whole, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(by_parts, by_whole, rtol=0.02, atol=1e-4)


def test_the_head_sees_a_part_at_a_time_and_once():
    hidden, labels, head = make(30)
    rows = []
    head.register_forward_hook(lambda module, inputs, output: rows.append(len(inputs[0])))
    loss_and_gradient(hidden, labels, head, 8)
    assert rows == [8, 8, 8, 6]
    assert head.weight.grad is None


def test_automatic_parts_follow_the_memory_and_a_number_is_taken():
    cpu = torch.device("cpu")
    many = positions_at_once("auto", 1000, cpu)
    assert many * 1000 * POSITION_BYTES == pytest.approx(SHARE * memory_of(cpu), rel=0.01)
    assert positions_at_once("auto", 10**15, cpu) == 1
    assert positions_at_once(7, 1000, cpu) == 7
