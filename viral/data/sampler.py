"""Sample order as a pure function of (seed, step, rank): grouped by modality and length, resumable at any step.

Follows LLaVA's modality-length grouping (release, llava_trainer.py:38-148): each global batch holds
samples of one modality, dealt into micro-batches of similar total length, in random order.

An epoch is a permutation cut into global batches; a global batch is dealt into micro-batches only when its step comes.
Neither knows of ranks: rank r of W takes micro-batches r, r + W, ... of a step, so any number of ranks that divides
them sees the same steps.
"""

import heapq
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from viral.errors import ConfigError, UnknownNameError


class Grouping(NamedTuple):
    """What the samples of a global batch share, and how it is dealt into micro-batches."""

    by_modality: bool
    """Global batches are all images or all text."""
    by_length: bool
    """Micro-batches are of similar total length; otherwise they are dealt by chance."""


GROUPINGS: Mapping[str, Grouping] = {
    "none": Grouping(by_modality=False, by_length=False),
    "length": Grouping(by_modality=False, by_length=True),
    "modality_length": Grouping(by_modality=True, by_length=True),  # the paper's
}


def get_grouping(name: str) -> Grouping:
    """Look a grouping up by name.

    Raises:
        UnknownNameError: no such grouping.
    """
    if name not in GROUPINGS:
        raise UnknownNameError("grouping of samples", name, list(GROUPINGS))
    return GROUPINGS[name]


class SampleOrder:
    """The order of a run's N samples, any step of which can be asked for.

    In an epoch each sample comes at most once. Samples that fill no whole global batch of their modality are merged
    into mixed ones, put last; what then remains (fewer than one global batch) is left out, another part in each epoch.
    """

    def __init__(
        self,
        length_N: np.ndarray,
        image_N: np.ndarray,
        *,
        global_batch: int,
        micro_batch: int,
        seed: int,
        grouping: str = "modality_length",
    ) -> None:
        """`length_N`: how long each sample is, in any unit; `image_N`: whether it has images.

        Raises:
            ConfigError: fewer samples than one global batch.
            UnknownNameError: no such grouping.
        """
        assert global_batch % micro_batch == 0
        if len(length_N) < global_batch:
            raise ConfigError(
                f"{len(length_N)} samples do not fill one global batch of {global_batch}; lower data.batch_size."
            )
        self.length_N, self.image_N = length_N, np.asarray(image_N, dtype=bool)
        self.global_batch, self.micro_batch, self.seed = global_batch, micro_batch, seed
        self.grouping = get_grouping(grouping)
        self.steps_per_epoch = len(length_N) // global_batch  # LLaVA's 665,298 samples at 128: 5,197
        self._epoch, self._batches = -1, np.empty((0, global_batch), np.int64)

    def step(self, step: int) -> np.ndarray:
        """Sample numbers [global_batch / micro_batch, micro_batch] of a step; epochs follow one another."""
        epoch, index = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self.epoch(epoch)
        num_micro = self.global_batch // self.micro_batch
        batch = self._batches[index]
        return self._deal(batch, num_micro) if self.grouping.by_length else batch.reshape(num_micro, -1)

    def epoch(self, epoch: int) -> np.ndarray:
        """Sample numbers [steps_per_epoch, global_batch] of an epoch, not yet dealt into micro-batches."""
        rng = np.random.default_rng([self.seed, epoch])
        groups = [self.image_N, ~self.image_N] if self.grouping.by_modality else [np.ones_like(self.image_N)]
        whole: list[np.ndarray] = []
        rest: list[np.ndarray] = []
        for group_N in groups:
            batches, left = self._cut(rng.permutation(np.flatnonzero(group_N)))
            whole += batches
            rest.append(left)
        rng.shuffle(whole)
        mixed, _ = self._cut(rng.permutation(np.concatenate(rest)))
        return np.stack(whole + mixed)

    def micro_batches(
        self, first_step: int, last_step: int, rank: int = 0, world_size: int = 1
    ) -> Iterator[list[int]]:
        """This rank's micro-batches of steps [first_step, last_step), whatever came before `first_step`."""
        for step in range(first_step, last_step):
            yield from self.step(step)[rank::world_size].tolist()

    def _cut(self, samples: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """Whole global batches, and what is left."""
        end = len(samples) // self.global_batch * self.global_batch
        return list(samples[:end].reshape(-1, self.global_batch)), samples[end:]

    def _deal(self, batch: np.ndarray, num_chunks: int) -> np.ndarray:
        """Deal a global batch, longest first, each to the so far shortest micro-batch that has room."""
        chunks: list[list[int]] = [[] for _ in range(num_chunks)]
        shortest = [(0, number) for number in range(num_chunks)]
        lengths = self.length_N[batch]
        for place in np.argsort(-lengths, kind="stable").tolist():
            total, number = heapq.heappop(shortest)
            chunks[number].append(int(batch[place]))
            if len(chunks[number]) < self.micro_batch:
                heapq.heappush(shortest, (total + int(lengths[place]), number))
        return np.array(chunks)
