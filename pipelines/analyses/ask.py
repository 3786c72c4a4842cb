"""From what a user types to a job."""

from collections.abc import Sequence
from pathlib import Path

from pipelines.analyses.job import Job, Settings, parse_labelled
from pipelines.analyses.questions import (
    DESCRIPTION,
    Questions,
    benchmark_questions,
    folder_questions,
    table_questions,
)
from pipelines.analyses.run import run_analysis
from viral.errors import ConfigError

ALL = "all"


def run(
    name: str,
    models: Sequence[str],
    settings: Settings,
    out: Path,
    profile: str,
    questions: Questions | None,
    device: str,
    batch_size: int = 1,
) -> Path:
    """Run an analysis of `[LABEL=]DIR` models; returns the file with its data.

    Raises:
        ViralError, StoreError: see `run_analysis`.
    """
    if batch_size < 1:
        raise ConfigError(f"--batch-size {batch_size}; give at least 1.")
    job = Job(
        models=parse_labelled(models, "--model"),
        settings=settings,
        out=out,
        profile=profile,
        questions=questions,
        device=device,
        batch_size=batch_size,
    )
    return run_analysis(name, job)


def parse_layers(text: str | None) -> tuple[float, ...] | None:
    """`"0,8,0.5"` -> indices and shares of the depth; `all` -> None.

    Raises:
        ConfigError: something else.
    """
    if text is None or text.strip() == ALL:
        return None
    try:
        return tuple(float(part) if "." in part else int(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--layers {text!r}; expected numbers as in 0,8,0.5, or {ALL}.") from error


def parse_seeds(text: str) -> tuple[int, ...]:
    """`"0,1,2"` -> numbers.

    Raises:
        ConfigError: something else.
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--seeds {text!r}; expected whole numbers as in 0,1,2.") from error


def pick_pictures(
    images: Path | None, benchmark: str | None, group: str | None, data: Path, profile: str, limit: int | None
) -> Questions:
    """Distinct pictures of a folder or a benchmark, readable ones.

    Raises:
        ConfigError: neither of the two is given, or both.
        ViralError: see the sources.
    """
    asked = _from_one(images, benchmark, group, data, profile, DESCRIPTION)
    return asked.pictures().spread(limit).checked()


def pick_questions(
    table: Path | None,
    images: Path | None,
    benchmark: str | None,
    group: str | None,
    data: Path,
    profile: str,
    limit: int | None,
    question: str | None = None,
) -> Questions:
    """Questions of a table or a benchmark, or one question about all pictures of a folder; readable pictures.

    Raises:
        ConfigError: no source, or more than one.
        ViralError: see the sources.
    """
    if table is not None:
        if images is None or benchmark is not None:
            raise ConfigError(
                "--questions goes with --images, the folder of its pictures, and without --benchmark."
            )
        asked = table_questions(table, images, profile)
    else:
        asked = _from_one(images, benchmark, group, data, profile, question or DESCRIPTION)
    return asked.spread(limit).checked()


def _from_one(
    images: Path | None, benchmark: str | None, group: str | None, data: Path, profile: str, question: str
) -> Questions:
    if (images is None) == (benchmark is None):
        raise ConfigError("Say what to look at: either --images DIR, or --benchmark NAME with --data DIR.")
    if images is not None:
        return folder_questions(images, profile, question)
    assert benchmark is not None
    return benchmark_questions(benchmark, data, profile, group)
