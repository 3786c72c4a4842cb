"""What a student sees: pictures decoded ahead of time, and looked at once for all questions about them.

Shape letters: N views of pictures, T visual tokens per view, V tower width.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType

import torch

from viral.data.image_source import ImageSource
from viral.data.images import decode_image
from viral.data.tiles import Size
from viral.errors import ImageError
from viral.mllm.student import Seen, Student

READERS = 4
"""Threads that decode; Pillow lets go of the interpreter's lock while it works."""
KEPT_BYTES = 2 << 30
"""Of features that later questions will ask for: 1,700 pictures of LLaVA-1.5 in 16 bits."""


@contextmanager
def naming(image: ImageSource) -> Iterator[None]:
    """Errors of a picture say which one it is."""
    try:
        yield
    except ImageError as error:
        raise ImageError(f"{image}: {error}. Replace the file; no question may be skipped.") from error


class Sight:
    """The tower's features of the pictures of many questions, which come in any order.

    `questions` names the picture of every question. Features are kept, as far as `KEPT_BYTES` allows, until the last
    of them is answered. Leaving the `with` block stops the reading.
    """

    def __init__(self, student: Student, image_mode: str, questions: Iterable[ImageSource]) -> None:
        self._student, self._mode = student, image_mode
        self._open = Counter(questions)
        self._kept: dict[ImageSource, torch.Tensor] = {}
        self._sizes: dict[ImageSource, Size] = {}
        self._reading: dict[ImageSource, Future[Seen]] = {}
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="decode")

    def __enter__(self) -> "Sight":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._readers.shutdown(cancel_futures=True)

    def read_ahead(self, images: Iterable[ImageSource]) -> None:
        """Start to decode pictures that will be asked for next."""
        for image in images:
            if image not in self._kept and image not in self._reading:
                self._reading[image] = self._readers.submit(self._read, image)

    def features(self, images: Sequence[ImageSource]) -> torch.Tensor:
        """Patch features [N, T, V] of all views of these pictures, one question after the other.

        Raises:
            ImageError: one cannot be read; the message names it.
        """
        self.read_ahead(images)
        times = Counter(images)
        new = [image for image in times if image not in self._kept]
        seen = self._kept | self._look_at(new)
        self._reading = {image: future for image, future in self._reading.items() if image not in times}
        for image in new:
            if self._open[image] > times[image] and self._room(seen[image]):
                self._kept[image] = seen[image].clone()  # a view would keep the whole batch in memory
        return torch.cat([seen[image] for image in images])

    def sizes(self, images: Iterable[ImageSource]) -> list[Size]:
        """Heights and widths of pictures whose features have been asked for."""
        return [self._sizes[image] for image in images]

    def answered(self, images: Iterable[ImageSource]) -> None:
        """Say that questions need their pictures no longer."""
        for image in images:
            self._open[image] -= 1
            if not self._open[image]:
                self._kept.pop(image, None)

    def _read(self, image: ImageSource) -> Seen:
        with naming(image):
            return self._student.look(decode_image(image), self._mode)

    def _look_at(self, images: list[ImageSource]) -> dict[ImageSource, torch.Tensor]:
        if not images:
            return {}
        seen = [self._reading[image].result() for image in images]
        self._sizes |= {image: each.size for image, each in zip(images, seen, strict=True)}
        return dict(zip(images, self._student.features(seen), strict=True))

    def _room(self, features: torch.Tensor) -> bool:
        return sum(kept.nbytes for kept in self._kept.values()) + features.nbytes <= KEPT_BYTES
