"""One optimisation loop for all parts: warm-up and cosine decay, seeded, logged."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

log = logging.getLogger(__name__)

WARMUP = 0.05
LOG_EVERY = 50


def adamw(parameters: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.05) -> AdamW:
    """AdamW with the settings all parts share, over the parameters that are trained."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    return AdamW(trained, lr=lr, betas=(0.9, 0.98), weight_decay=weight_decay)


def optimise(optimizers: Sequence[Optimizer], loss_at: Callable[[int], Tensor], steps: int) -> float:
    """Minimise `loss_at(step)` and return the mean loss of the last tenth of the steps."""
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
        for optimizer in optimizers
    ]
    trained = [
        weight for optimizer in optimizers for group in optimizer.param_groups for weight in group["params"]
    ]
    losses: list[float] = []
    start = time.perf_counter()
    for step in range(steps):
        loss = loss_at(step)
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
        losses.append(loss.item())
        if (step + 1) % LOG_EVERY == 0:
            recent = losses[-LOG_EVERY:]
            seconds = time.perf_counter() - start
            log.info("step %d/%d loss %.4f (%.0f s)", step + 1, steps, sum(recent) / len(recent), seconds)
    tail = losses[-max(1, steps // 10) :]
    return sum(tail) / len(tail)


def _rate(step: int, steps: int) -> float:
    warmup = max(1, int(WARMUP * steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
