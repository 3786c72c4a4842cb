"""Measurements of one model, a file for each picture or question: a run that is stopped keeps what it has."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np

from stores.publish import publish
from viral.errors import DataError

Arrays = dict[str, np.ndarray]


class Parts:
    """Named arrays by id, in `folder`; a part is there whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "parts"

    def __contains__(self, id_: object) -> bool:
        return self._path(str(id_)).is_file()

    def write(self, id_: str, arrays: Arrays) -> None:
        """Publish what was measured for an id."""
        with publish(self._path(id_)) as partial, partial.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    def read(self, id_: str) -> Arrays:
        """What was measured for an id.

        Raises:
            DataError: the file is damaged.
        """
        path = self._path(id_)
        try:
            with np.load(path, allow_pickle=False) as stored:
                return dict(stored)
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} is damaged; remove it, and run the analysis again.") from error

    def _path(self, id_: str) -> Path:
        """Ids may be paths, and long."""
        return self._folder / f"{hashlib.sha256(id_.encode()).hexdigest()[:24]}.npz"
