"""A run's folder: configuration, metrics, checkpoints; never somebody else's files."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.training.changes import differences
from pipelines.training.config import TrainConfig, read_config, write_config
from stores.publish import publish, write_json
from viral.errors import ConfigError, one_line

CONFIG, INPUTS, METRICS, CHECKPOINTS = "config.yaml", "inputs.json", "metrics.jsonl", "checkpoints"
LOCK = "lock"


def check_folder(output: Path, config: TrainConfig, *, resume: bool) -> None:
    """Make sure `output` can take this run; writes nothing.

    Raises:
        ConfigError: the folder holds something else, an unfinished run without --resume, no run to resume,
            or a run with other settings (each is named).
    """
    recorded = output / CONFIG
    if not recorded.is_file():
        if resume:
            raise ConfigError(f"No run to resume in {output}: it has no {CONFIG}. Start it without --resume.")
        if output.exists() and (
            not output.is_dir() or {path.name for path in output.iterdir()} - {LOCK, INPUTS}
        ):
            raise ConfigError(f"{output} is not empty and holds no run of ours; give another --output.")
        above = next(folder for folder in (output, *output.absolute().parents) if folder.exists())
        if not above.is_dir() or not os.access(above, os.W_OK):
            raise ConfigError(
                f"{output} cannot be made: {above} is no folder, or not ours to write in; give another --output."
            )
        return
    if not resume:
        raise ConfigError(
            f"{output} already holds a run; continue it with --resume, or give another --output."
        )
    if changed := differences(read_config(recorded).resolved(), config):
        raise ConfigError(
            f"{output} was started with other settings: {'; '.join(changed)}. "
            "Resume with the same ones, or give another --output."
        )


def start_folder(output: Path, config: TrainConfig, inputs: dict[str, Any]) -> None:
    """Record configuration and inputs of a new run; make sure a resumed one is made from the same inputs.

    Raises:
        ConfigError: annotations, usable samples or cache are not those the run was started with.
    """
    recorded = output / INPUTS
    if (output / CONFIG).is_file():
        try:
            old = dict(json.loads(recorded.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(
                f"{recorded} is missing or damaged ({one_line(error)}), and says what the run is made from. "
                "Restore it, or start a new run in another --output."
            ) from error
        if changed := [name for name in inputs if old.get(name) != inputs[name]]:
            raise ConfigError(
                f"{output} was started with other inputs: {', '.join(changed)} changed since. "
                "Restore them, or start a new run in another --output."
            )
        return
    write_json(recorded, inputs)
    with publish(output / CONFIG) as path:
        path.write_text(write_config(config))


@contextmanager
def run_lock(output: Path) -> Iterator[None]:
    """Hold the run folder; the kernel lets go of it when the process ends, however it ends.

    Raises:
        ConfigError: another process trains in it.
    """
    output.mkdir(parents=True, exist_ok=True)
    with (output / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"Another process is training in {output}; wait for it, or stop it first."
            ) from error
        yield


def trim_metrics(output: Path, step: int) -> None:
    """Drop metric lines after `step`, which a resumed run will write again, and an unfinished one.

    Raises:
        ConfigError: a line is damaged.
    """
    path = output / METRICS
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    kept = []
    for number, line in enumerate(lines, 1):
        if line.endswith(b"\n") and _step(path, number, line) <= step:
            kept.append(line)
    with publish(path) as partial:
        partial.write_bytes(b"".join(kept))


def _step(path: Path, number: int, line: bytes) -> int:
    return int(_metrics(path, number, line)["step"])


def _metrics(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        values = dict(json.loads(line))
        return values | {"step": int(values["step"])}
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} line {number} is damaged; delete it, and resume.") from error


def read_metrics(output: Path) -> list[dict[str, Any]]:
    """The metrics of every finished step, in order; not of one that is being written.

    Raises:
        ConfigError: a line is damaged.
    """
    path = output / METRICS
    lines = path.read_bytes().splitlines(keepends=True)
    return [_metrics(path, number, line) for number, line in enumerate(lines, 1) if line.endswith(b"\n")]
