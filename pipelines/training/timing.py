"""Compare the step time of two runs fairly: their steps alternate in one process, so both meet the same machine."""

from collections.abc import Sequence

import numpy as np

from pipelines.training.loop import start, train_step
from pipelines.training.setup import Run


def paired_step_times(runs: Sequence[Run], num_steps: int, warmup: int = 3) -> np.ndarray:
    """Seconds per optimizer step, [num_steps, len(runs)].

    The order within a pair turns around with every step, so that neither run always follows the other.
    The runs are trained meanwhile; use ones that are not needed afterwards.
    """
    batches, backends = [iter(run.loader(0)) for run in runs], [start(run)[0] for run in runs]
    seconds = np.empty((warmup + num_steps, len(runs)))
    for step in range(warmup + num_steps):
        order = range(len(runs)) if step % 2 == 0 else reversed(range(len(runs)))
        for index in order:
            seconds[step, index] = train_step(runs[index], backends[index], batches[index], step).step_time
    return seconds[warmup:]


def median_ratio(seconds: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Median over pairs of second / first run's time, with a 95 % bootstrap interval (low, high)."""
    ratios = seconds[:, 1] / seconds[:, 0]
    draws = np.random.default_rng(seed).choice(ratios, (2000, len(ratios)))
    low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    return float(np.median(ratios)), float(low), float(high)
