"""Turn SIGINT and SIGTERM into a request to stop at the next safe point."""

import signal
from types import FrameType, TracebackType


class StopRequest:
    """Context in which the first SIGINT or SIGTERM only sets `requested`; a second one acts as usual.

    A `patient` one takes every signal so: a launcher passes on what the terminal has already sent to its workers.
    """

    def __init__(self, *, patient: bool = False) -> None:
        self.requested, self._patient = False, patient
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        if not self._patient:
            self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous = {}
