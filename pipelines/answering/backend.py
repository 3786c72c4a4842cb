"""What a backend is."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

    from viral.mllm.generate import Question


class Answer(Protocol):
    """A loaded model that answers questions greedily."""

    def __call__(
        self, questions: "Sequence[Question]", *, max_new_tokens: int, image_mode: str, batch_size: int
    ) -> Iterator[tuple[str, str]]:
        """Yield (key, reply) of every question, in any order; see `viral.mllm.generate.generate`."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Backend:
    """A registry entry.

    `check(model, device)` refuses what cannot be run, before anything is read or written; `load(model, device, dtype)`
    loads it. `batch_size` is how many questions at a time are tried on each type of device if nobody says.
    """

    name: str
    check: "Callable[[str, torch.device], None]"
    load: "Callable[[str, torch.device, str], Answer]"
    batch_size: dict[str, int]
