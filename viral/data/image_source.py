"""Where an image file's bytes are: a path, a member of an archive, a cell of a table."""

from typing import Protocol


class ImageSource(Protocol):
    """What decoding asks of a file; `pathlib.Path` has it. `str` names it in messages, equal sources are one image."""

    def read_bytes(self) -> bytes:
        """The encoded file.

        Raises:
            FileNotFoundError: it is not there.
            OSError: it cannot be read.
        """
        ...

    def is_file(self) -> bool:
        """Whether it is there."""
        ...
