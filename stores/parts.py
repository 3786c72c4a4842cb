"""Parts: what was appended to a store. Each is a store of its own below it, with the same spec and tables.

The store that is appended to is not touched, and stays readable, while its next part is being made.
"""

from pathlib import Path

from stores.errors import IncompleteStoreError
from stores.layout import MANIFEST, PARTS
from stores.mark import is_store


def part_name(number: int) -> str:
    """Relative name of a part, counted from 1."""
    return f"{PARTS}/{number}"


def base_of(root: Path) -> Path | None:
    """The store that `root` is a part of; None if it is none."""
    root = root.absolute()
    base = root.parent.parent
    return base if root.parent.name == PARTS and root.name.isdigit() and is_store(base) else None


def finished_parts(root: Path) -> list[Path]:
    """Folders of the parts that can be read, oldest first; a last one that is still being built is left out.

    Raises:
        IncompleteStoreError: a part is unfinished, but a later one is there.
    """
    finished: list[Path] = []
    while ((part := root / part_name(len(finished) + 1)) / MANIFEST).is_file():
        finished.append(part)
    if (root / part_name(len(finished) + 2)).exists():
        raise IncompleteStoreError(
            f"{root / part_name(len(finished) + 1)} is unfinished, but a later part is there; "
            "run the `viral cache append` that made it again, it resumes."
        )
    return finished


def next_part(root: Path) -> Path:
    """Folder of the first part that is not finished: the one to resume, or a new one."""
    number = 1
    while (root / part_name(number) / MANIFEST).is_file():
        number += 1
    return root / part_name(number)


def unfinished_part(root: Path) -> str | None:
    """Relative name of the part that is being appended, or whose manifest is lost; None if there is none."""
    part = next_part(root)
    return part.relative_to(root).as_posix() if is_store(part) else None


def all_parts(root: Path) -> list[Path]:
    """Folders of all parts, finished or not, oldest first."""
    numbers = (int(path.name) for path in (root / PARTS).glob("*") if path.is_dir() and path.name.isdigit())
    return [root / part_name(number) for number in sorted(numbers)]
