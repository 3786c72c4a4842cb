"""Where a run's curves go besides `metrics.jsonl`: one small class a service, looked up by name.

A resumed run goes on in its own curves. Steps it repeats, because it was killed after its last checkpoint, come out
with the same values.
"""

import os
import secrets
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from pipelines.training.config import TrainConfig
from stores.publish import publish
from viral.errors import ConfigError, UnknownNameError, one_line


class Logger(Protocol):
    """Made from a run's folder, its settings and the number of steps done."""

    package: str
    """What has to be installed."""

    def __init__(self, output: Path, config: TrainConfig, done: int) -> None: ...

    def log(self, step: int, values: dict[str, float]) -> None:
        """One point of every curve."""

    def close(self) -> None:
        """Write what is still in memory."""


class TensorBoard:
    """Event files in `<run>/tensorboard`; those of the steps that are run again are dropped by its reader."""

    package = "tensorboard"

    def __init__(self, output: Path, config: TrainConfig, done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(output / "tensorboard"), purge_step=done + 1)

    def log(self, step: int, values: dict[str, float]) -> None:
        """Scalars under their names in `metrics.jsonl`."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush."""
        self._writer.close()


class Wandb:
    """A run of the project `viral` (or `WANDB_PROJECT`), its settings with it; `WANDB_MODE=offline` needs no network.

    Its id is kept in `<run>/wandb-id`, so a resumed run is the same one there; `wandb sync` joins offline parts.
    """

    package = "wandb"

    def __init__(self, output: Path, config: TrainConfig, done: int) -> None:
        import wandb

        known = output / "wandb-id"
        if not known.is_file():
            with publish(known) as path:
                path.write_text(secrets.token_hex(4))
        try:
            self._run: Any = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "viral"),
                name=config.name,
                id=known.read_text().strip(),
                resume="allow",
                dir=str(output),
                config=config.model_dump(mode="json"),
                settings=wandb.Settings(console="off", silent=True),
            )
        except wandb.errors.Error as error:
            raise ConfigError(
                f"--log wandb: {one_line(error)}. Run `wandb login`, or set WANDB_MODE=offline; then continue "
                "with --resume."
            ) from error

    def log(self, step: int, values: dict[str, float]) -> None:
        """One row; of a step that is there already it keeps the first."""
        self._run.log(values, step=step)

    def close(self) -> None:
        """Wait until all is on the disk, or on the server."""
        self._run.finish()


LOGGERS: dict[str, type[Logger]] = {"tensorboard": TensorBoard, "wandb": Wandb}


def get_loggers(names: Sequence[str]) -> list[type[Logger]]:
    """The loggers of these names, each once.

    Raises:
        UnknownNameError: no such logger.
        ConfigError: its package is not installed.
    """
    for name in names:
        if name not in LOGGERS:
            raise UnknownNameError("logger", name, list(LOGGERS))
        if find_spec(LOGGERS[name].package) is None:
            raise ConfigError(
                f"--log {name} needs {LOGGERS[name].package}, which is not installed: pip install 'viral[log]'."
            )
    return [LOGGERS[name] for name in dict.fromkeys(names)]
