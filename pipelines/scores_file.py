"""`scores.json` of one model: benchmarks join it call by call, those of another model are refused."""

from pathlib import Path
from typing import Any

from pipelines.replies import write_readable_json
from viral.benchmarks.tables import parse_json
from viral.errors import ConfigError, DataError

SCORES = "scores.json"


def read_scores(folder: Path) -> dict[str, dict[str, Any]]:
    """Scores by benchmark name, as far as the folder holds any.

    Raises:
        DataError: the file is not what `add_scores` writes.
    """
    path = folder / SCORES
    try:
        scores = parse_json(path.read_bytes())
        if all(isinstance(entry["generated"], dict) for entry in scores.values()):
            return dict(scores)
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, KeyError, TypeError):
        pass  # told below
    raise DataError(f"{path} is damaged; remove it, and run `viral eval` for each of its benchmarks again.")


def require_same_model(folder: Path, made: dict[str, Any]) -> None:
    """Refuse a folder with scores of another model or profile, before hours are spent on generation.

    Args:
        folder: where the scores will be added.
        made: `model`, `weights` (None for a hub id, whose name then counts) and `profile` of the new ones.

    Raises:
        ConfigError: scores there were made otherwise.
        DataError: see `read_scores`.
    """
    names = ("profile", "model" if made["weights"] is None else "weights")
    for benchmark, entry in read_scores(folder).items():
        known = entry["generated"]
        for name in names:
            if known.get(name) != made[name]:
                raise ConfigError(
                    f"{folder / SCORES} holds scores of {benchmark} made with {name}={known.get(name)!r}, now it is "
                    f"{made[name]!r}; give another --output, or remove that file and the folder {benchmark}."
                )


def add_scores(folder: Path, scores: dict[str, dict[str, Any]]) -> None:
    """Publish the folder's scores with these added; a benchmark of the same name is replaced.

    Raises:
        DataError: see `read_scores`.
    """
    write_readable_json(folder / SCORES, read_scores(folder) | scores)
