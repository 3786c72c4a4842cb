"""The section that says what was compared: settings and fingerprints of models, data, runs and caches."""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipelines.cache_info import describe_store
from pipelines.report.evaluations import Evaluation
from pipelines.report.figures import Analysis
from pipelines.report.page import Section
from pipelines.report.settings import settings_group
from pipelines.report.sources import Folders
from pipelines.training.config import read_config
from pipelines.training.folder import CONFIG, INPUTS
from viral.errors import ConfigError, one_line


def configuration_section(
    found: Mapping[str, Folders], evaluations: Sequence[Evaluation], analyses: Sequence[Analysis]
) -> Section:
    """Settings by kind of folder: first what differs between them, then, on demand, what is the same.

    Raises:
        ConfigError: a run's configuration or record of inputs is damaged.
        StoreError: a cache is damaged.
    """
    folders = {
        f"{kind} {label}": str(path) for kind, members in found.items() for label, path in members.items()
    }
    kinds: dict[str, Mapping[str, Mapping[str, Any]]] = {
        "Evaluations": {evaluation.label: _evaluation(evaluation) for evaluation in evaluations},
        "Runs": {label: _run(folder) for label, folder in found["run"].items()},
        "Caches": {label: describe_store(folder) for label, folder in found["cache"].items()},
        **{each.title: {"Settings": {**each.settings, "models": each.models}} for each in analyses},
        f"This page, by viral {version('viral')}": {"Folders": folders},
    }
    body = "".join(settings_group(title, columns) for title, columns in kinds.items() if columns)
    return Section("configuration", "Configuration and fingerprints", body)


def _evaluation(evaluation: Evaluation) -> dict[str, Any]:
    """Settings of its replies; what all benchmarks have in common is said once."""
    first, *others = evaluation.settings.values()
    common = {
        name: value for name, value in first.items() if all(name in o and o[name] == value for o in others)
    }
    own = {
        benchmark: {name: value for name, value in settings.items() if name not in common}
        for benchmark, settings in evaluation.settings.items()
    }
    return common | own


def _run(folder: Path) -> dict[str, Any]:
    """A run's configuration, and the fingerprints of what it was made from."""
    recorded = folder / INPUTS
    try:
        inputs = json.loads(recorded.read_bytes()) if recorded.is_file() else None
    except ValueError as error:
        raise ConfigError(f"{recorded} is damaged ({one_line(error)}); restore it, or remove it.") from error
    return read_config(folder / CONFIG).model_dump(mode="json") | {"inputs": inputs}
