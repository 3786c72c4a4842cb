"""Writing folders of pictures and tables: everything or nothing."""

import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from viral.errors import DataError

JPEG_QUALITY = 95


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its name when the block ends well, and vanishes otherwise.

    Raises:
        DataError: `path` exists and is not an empty folder.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise DataError(f"{path} exists and is not an empty folder; give a new one or remove it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o755)  # mkdtemp makes folders that only the owner can read
        os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def encode_picture(picture: Image.Image) -> bytes:
    """A JPEG without colour subsampling, so that small coloured shapes stay crisp."""
    file = io.BytesIO()
    picture.save(file, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
    return file.getvalue()


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a picture as `encode_picture` makes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_picture(picture))


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
