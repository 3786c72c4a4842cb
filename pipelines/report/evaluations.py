"""Evaluations as a report compares them: scored again from their replies, on the data they were made from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.comparison import Row, compare_replies, with_holm
from pipelines.evaluate import score
from pipelines.replies import read_settings
from pipelines.report.sources import Folders, replies_of
from pipelines.scores_file import SCORES, read_scores
from viral.errors import ConfigError, DataError


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """One model's replies under one profile; replies, settings and scores by benchmark."""

    label: str
    profile: str
    replies: dict[str, Path]
    settings: dict[str, dict[str, Any]]
    scores: dict[str, dict[str, Any]]


def read_evaluations(folders: Folders, data_dir: Path) -> list[Evaluation]:
    """All evaluations in order, the first being the baseline of the others.

    Raises:
        ConfigError: they were made under different profiles.
        DataError: replies are missing, damaged, incomplete or of other data than those in `data_dir`.
    """
    evaluations = [_read(label, folder, data_dir) for label, folder in folders.items()]
    for other in evaluations[1:]:
        if other.profile != evaluations[0].profile:
            raise ConfigError(
                f"{evaluations[0].label} was evaluated under profile {evaluations[0].profile}, {other.label} under "
                f"{other.profile}; only differences inside one profile mean anything: evaluate one of them again."
            )
    return evaluations


def differences(baseline: Evaluation, other: Evaluation, data_dir: Path) -> list[Row]:
    """Rows for every benchmark that both have.

    Raises:
        DataError: see `compare_replies`.
    """
    return with_holm(
        [
            row
            for name in shared(baseline, other)
            for row in compare_replies(
                name, data_dir, baseline.replies[name], other.replies[name], profile=baseline.profile
            )
        ]
    )


def shared(first: Evaluation, second: Evaluation) -> list[str]:
    """Benchmarks that both answered."""
    return [name for name in first.replies if name in second.replies]


def _read(label: str, folder: Path, data_dir: Path) -> Evaluation:
    replies = replies_of(folder)
    if lost := [name for name in read_scores(folder) if name not in replies]:
        raise DataError(
            f"{folder / SCORES} has scores of {', '.join(lost)}, but their replies are gone; restore them, or "
            "remove those scores."
        )
    settings = {name: read_settings(path) or {} for name, path in replies.items()}
    scores = {name: score(name, data_dir, path) for name, path in replies.items()}
    profiles = {entry["profile"] for entry in scores.values()}
    if len(profiles) != 1:
        raise ConfigError(
            f"{folder} mixes the profiles {', '.join(sorted(profiles))}; evaluate into one folder each."
        )
    return Evaluation(label=label, profile=profiles.pop(), replies=replies, settings=settings, scores=scores)
