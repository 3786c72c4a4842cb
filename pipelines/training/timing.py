"""Compare the step time of two runs fairly: their steps alternate in one process, so both meet the same machine."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from pipelines.training.loop import start, train_step
from pipelines.training.setup import Run


def paired_step_times(runs: Sequence[Run], num_steps: int, warmup: int = 3) -> np.ndarray:
    """Seconds per optimizer step, [num_steps, len(runs)].

    The runs are trained meanwhile; use ones that are not needed afterwards.
    """

    def stepper(run: Run) -> Callable[[], float]:
        batches, (backend, _), count = iter(run.loader(0)), start(run), itertools.count()
        return lambda: train_step(run, backend, batches, next(count)).step_time

    return alternate([stepper(run) for run in runs], num_steps, warmup)


def alternate(steps: Sequence[Callable[[], float]], num_steps: int, warmup: int = 3) -> np.ndarray:
    """What several ways of a step return, usually seconds, in turns: [num_steps, len(steps)].

    The order turns around with every round, so that no way always follows the same other.
    """
    seconds = np.empty((warmup + num_steps, len(steps)))
    for turn in range(warmup + num_steps):
        order = range(len(steps)) if turn % 2 == 0 else reversed(range(len(steps)))
        for index in order:
            seconds[turn, index] = steps[index]()
    return seconds[warmup:]


def median_ratio(seconds: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Median over pairs of second / first run's time, with a 95 % bootstrap interval (low, high)."""
    ratios = seconds[:, 1] / seconds[:, 0]
    draws = np.random.default_rng(seed).choice(ratios, (2000, len(ratios)))
    low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    return float(np.median(ratios)), float(low), float(high)
