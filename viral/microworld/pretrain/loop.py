"""One optimisation loop for all parts: AdamW, warm-up and cosine decay, seeded, logged."""

import logging
import math
import time
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)

WARMUP = 0.05
LOG_EVERY = 50


def optimise(
    parameters: Iterable[nn.Parameter],
    loss_at: Callable[[int], Tensor],
    *,
    steps: int,
    lr: float,
    weight_decay: float = 0.05,
) -> float:
    """Minimise `loss_at(step)` and return the mean loss of the last tenth of the steps."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=lr, betas=(0.9, 0.98), weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    losses: list[float] = []
    start = time.perf_counter()
    for step in range(steps):
        loss = loss_at(step)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
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
