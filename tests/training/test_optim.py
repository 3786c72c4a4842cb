"""Parameter groups and schedule of LLaVA-1.5's recipe."""

import pytest
import torch
from transformers import get_cosine_schedule_with_warmup

from pipelines.training.config import OptimConfig
from pipelines.training.optim import build_optimizer, lr_factor, set_lr, trainable
from tests.mllm.test_aligned import build


def test_head_and_lora_at_2e4_projector_at_2e5():
    module = build()
    optimizer = build_optimizer(module, OptimConfig())
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    parameters = trainable(module)
    assert len(rate) == len(parameters)
    for name, parameter in parameters.items():
        assert rate[id(parameter)] == (2e-5 if "multi_modal_projector" in name else 2e-4), name


def test_a_frozen_head_is_in_no_group():
    module = build()
    module.terms.requires_grad_(False)
    grouped = {
        id(p) for group in build_optimizer(module, OptimConfig()).param_groups for p in group["params"]
    }
    assert not grouped & {id(p) for p in module.terms.parameters()}


@pytest.mark.parametrize(("num_steps", "ratio"), [(5197, 0.03), (10, 0.0), (7, 0.5)])
def test_schedule_equals_transformers(num_steps, ratio):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    warmup = -(-num_steps * ratio // 1)
    theirs = get_cosine_schedule_with_warmup(optimizer, warmup, num_steps)
    for step in range(num_steps):
        assert lr_factor(step, num_steps, ratio) == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()


def test_paper_warms_up_for_156_of_5197_steps():
    assert lr_factor(156, 5197, 0.03) == 1.0
    assert lr_factor(155, 5197, 0.03) < 1.0
    assert lr_factor(0, 5197, 0.03) == 0.0


def test_factor_scales_every_group():
    optimizer = build_optimizer(build(), OptimConfig())
    assert set_lr(optimizer, 0.5) == pytest.approx(1e-4)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1e-4, 1e-5])
