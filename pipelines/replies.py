"""A model's replies to one benchmark: `replies.jsonl` that survives a kill, beside the settings that made them."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from stores.publish import publish
from viral.benchmarks.scoring import read_replies
from viral.benchmarks.tables import parse_json
from viral.errors import ConfigError, DataError

REPLIES = "replies.jsonl"
SETTINGS = "settings.json"


class ReplyLog:
    """Append-only replies in `folder`; opening it again finds what was answered and refuses other settings.

    Raises:
        ConfigError: the folder holds replies made with other settings.
        DataError: it holds replies without settings, or damaged ones.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.path = folder / REPLIES
        settings = json.loads(json.dumps(settings))
        known = read_settings(self.path)
        if known is None and self.path.exists():
            raise DataError(
                f"{self.path} has no {SETTINGS} beside it, so nobody knows how it was made; give a new --output."
            )
        if known is None:
            folder.mkdir(parents=True, exist_ok=True)
            write_readable_json(folder / SETTINGS, settings)
        elif known != settings:
            raise ConfigError(_difference(folder, known, settings))
        self.answered = _recover(self.path)

    def __enter__(self) -> "ReplyLog":
        self._file = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def add(self, id_: str, reply: str, prompt: str) -> None:
        """Append one reply; it is in the file, whole or torn, before this returns."""
        digest = hashlib.sha256(prompt.encode()).hexdigest()
        self._file.write(json.dumps({"id": id_, "reply": reply, "prompt_sha256": digest}) + "\n")
        self._file.flush()


def read_settings(replies: Path) -> dict[str, Any] | None:
    """The settings beside a replies file, or None if there are none.

    Raises:
        DataError: the file is there but damaged.
    """
    path = replies.with_name(SETTINGS)
    if not path.exists():
        return None
    try:
        settings = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}. Give a new --output.") from error
    if not isinstance(settings, dict):
        raise DataError(f"{path} holds no settings. Give a new --output.")
    return settings


def hash_files(paths: Iterable[Path]) -> dict[str, str]:
    """File name -> SHA-256 of its content."""
    digests = {}
    for path in sorted(paths):
        with path.open("rb") as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def write_readable_json(path: Path, value: Any) -> None:  # noqa: ANN401 - anything JSON can hold
    """Publish `value` as indented JSON, keys in the order given."""
    with publish(path) as partial:
        partial.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _recover(path: Path) -> set[str]:
    """Ids answered so far; a last line that a kill tore is cut off the file."""
    if not path.exists():
        return set()
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.truncate(path, len(whole))
    return set(read_replies(path)) if whole else set()


def _difference(folder: Path, known: dict[str, Any], settings: dict[str, Any]) -> str:
    name = next(name for name in {**known, **settings} if known.get(name) != settings.get(name))
    return (
        f"{folder} holds replies made with {name}={known.get(name)!r}, now it is {settings.get(name)!r}; "
        "give another --output, or remove that folder."
    )
