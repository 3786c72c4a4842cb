"""Errors a user can cause. Each message says what was expected, what was found and what to do."""

import copyreg


class ViralError(Exception):
    """Base of every error of the method; the command line prints it in one line and exits with 2."""


def one_line(error: Exception) -> str:
    """What a library's error says, on one line and without the final full stop; its type if it says nothing."""
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__


class UnknownNameError(ViralError, ValueError):
    """A registry was asked for a name it does not hold."""

    def __init__(self, kind: str, name: str, known: list[str]) -> None:
        super().__init__(f"Unknown {kind} {name!r}. Known: {', '.join(sorted(known))}.")

    def __reduce__(self) -> tuple[object, ...]:
        # It travels from process to process as the message that it has become.
        return copyreg.__newobj__, (type(self), *self.args)  # type: ignore[attr-defined]


class ConfigError(ViralError, ValueError):
    """A setting is missing, misspelt, out of range or contradicts another."""


class DataError(ViralError, ValueError):
    """Annotations, benchmark files or replies are not what their format promises."""


class ImageError(ViralError, ValueError):
    """An image file cannot be read, or holds no picture we can use."""


class WeightsError(ViralError, ValueError):
    """Weights are missing, of another architecture, or damaged."""


class CacheMismatchError(ViralError, ValueError):
    """A feature store does not fit the run it is given to."""
