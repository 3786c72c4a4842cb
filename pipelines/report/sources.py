"""What the folders of a report are: evaluations, training runs, analyses, caches; one may be several of them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from pipelines.replies import REPLIES
from pipelines.scores_file import SCORES
from pipelines.training.folder import CONFIG
from stores.layout import PLAN
from viral.benchmarks import BENCHMARKS
from viral.errors import ConfigError

Folders = dict[str, Path]
"""Label -> folder, in the order given."""


def replies_of(folder: Path) -> dict[str, Path]:
    """Replies files of an evaluation by benchmark, in the order of the registry."""
    paths = {name: folder / name / REPLIES for name in BENCHMARKS}
    return {name: path for name, path in paths.items() if path.is_file()}


def analysis_files(folder: Path) -> list[Path]:
    """The files `NAME.json` of analyses: those that list figures."""
    return [path for path in sorted(folder.glob("*.json")) if _lists_figures(path)]


KINDS: dict[str, Callable[[Path], bool]] = {
    "evaluation": lambda folder: (folder / SCORES).is_file() or bool(replies_of(folder)),
    "run": lambda folder: (folder / CONFIG).is_file(),
    "analysis": lambda folder: bool(analysis_files(folder)),
    "cache": lambda folder: (folder / PLAN).is_file(),
}


def recognise(folders: Sequence[str | Path]) -> dict[str, Folders]:
    """Kind -> the folders of that kind by label; `LABEL=FOLDER` names one, else its own name does.

    Raises:
        ConfigError: nothing given, no such folder, one that is of no kind, or a label that comes twice in a kind.
    """
    if not folders:
        raise ConfigError(
            "A report needs a folder of `viral eval`, `viral train`, `viral analyze` or a cache."
        )
    found: dict[str, Folders] = {kind: {} for kind in KINDS}
    for label, folder in map(_labelled, folders):
        kinds = [kind for kind, fits in KINDS.items() if fits(folder)]
        if not kinds:
            raise ConfigError(
                f"{folder} is nothing a report can show: expected an evaluation (<benchmark>/{REPLIES}), a run "
                f"({CONFIG}), an analysis (NAME.json that lists figures) or a cache ({PLAN})."
            )
        for kind in kinds:
            if label in found[kind]:
                raise ConfigError(
                    f"{found[kind][label]} and {folder} are both called {label!r}; name them, as in LABEL={folder}."
                )
            found[kind][label] = folder
    return found


def _labelled(argument: str | Path) -> tuple[str, Path]:
    label, separator, path = str(argument).partition("=")
    # A folder's name may hold the sign itself.
    if not separator or Path(argument).exists():
        label, path = "", str(argument)
    folder = Path(path)
    if not path or not folder.is_dir():
        raise ConfigError(f"No folder {path!r}; a report takes folders, as FOLDER or LABEL=FOLDER.")
    return label.strip() or folder.resolve().name, folder


def _lists_figures(path: Path) -> bool:
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, OSError):
        return False
    return isinstance(value, dict) and "analysis" in value and isinstance(value.get("figures"), list)
