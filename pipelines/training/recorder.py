"""What rank 0 tells of a run: a bar, or a line now and then; `metrics.jsonl`; and the loggers asked for."""

import json
import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from types import TracebackType

from pipelines.progress import bar
from pipelines.training.config import TrainConfig
from pipelines.training.folder import METRICS
from pipelines.training.loggers import Logger
from pipelines.training.metrics import StepMetrics
from viral.mllm.aligned import MAIN

log = logging.getLogger(__name__)
PERIOD = 60.0
"""Seconds between lines where there is no terminal to draw a bar on."""


class Recorder:
    """Context that takes a run's steps, from the one after `done`; does nothing but on the `main` rank."""

    def __init__(
        self,
        output: Path,
        config: TrainConfig,
        num_steps: int,
        done: int,
        loggers: Sequence[type[Logger]] = (),
        *,
        main: bool,
    ) -> None:
        self._main, self._stack = main, ExitStack()
        self._num_steps, self._first = num_steps, done
        self._start, self._told = time.monotonic(), float("-inf")
        if not main:
            return
        with ExitStack() as opened:  # closes what is open if the next cannot be
            self._file = opened.enter_context((output / METRICS).open("a"))
            self._bar = opened.enter_context(bar(num_steps, config.name, True, done, "step"))
            self._loggers = [opened.enter_context(closing(new(output, config, done))) for new in loggers]
            self._stack = opened.pop_all()

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def record(self, metric: StepMetrics) -> None:
        """Write and show one step."""
        if not self._main:
            return
        values = metric.values()
        self._file.write(json.dumps(values) + "\n")
        self._file.flush()
        curves = {name: value for name, value in values.items() if name != "step" and value is not None}
        for logger in self._loggers:
            logger.log(metric.step, curves)
        self._show(metric)

    def _show(self, metric: StepMetrics) -> None:
        shown = {
            "lm": f"{metric.lm:.3f}",
            **{
                name.removeprefix(f"{MAIN}/"): f"{value:.3f}"
                for name, value in metric.terms.items()
                if value is not None
            },
            "tok/s": f"{metric.tokens / metric.step_time:.0f}",
            "wait": f"{metric.data_wait / metric.step_time:.1%}",
        }
        self._bar.update()
        self._bar.set_postfix(shown)
        now = time.monotonic()
        if self._bar.disable and now - self._told >= PERIOD:
            self._told = now
            pace = (now - self._start) / (metric.step - self._first)
            left = timedelta(seconds=round(pace * (self._num_steps - metric.step)))
            text = ", ".join(f"{name} {value}" for name, value in shown.items())
            log.info("step %d of %d: %s, %s left", metric.step, self._num_steps, text, left)
