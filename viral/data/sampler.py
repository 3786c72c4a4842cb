"""Sample order as a pure function of (seed, epoch): grouped by modality and length, resumable at any step.

Follows LLaVA's modality-length grouping (release, llava_trainer.py:38-148): each global batch holds
samples of one modality, dealt into micro-batches of similar total length, in random order.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from viral.errors import ConfigError


def epoch_order(
    lengths: Sequence[int],
    has_image: Sequence[bool],
    global_batch: int,
    micro_batch: int,
    seed: int,
    epoch: int,
) -> np.ndarray:
    """Sample indices [num_steps, num_micro_batches, micro_batch] of one epoch; each sample at most once.

    Samples that fill no whole global batch of their modality are merged into mixed ones, put last; what
    then remains (fewer than one global batch) is left out of this epoch, another part in each epoch.

    Raises:
        ConfigError: fewer samples than one global batch.
    """
    if len(lengths) < global_batch:
        raise ConfigError(
            f"{len(lengths)} samples do not fill one global batch of {global_batch}; lower data.batch_size."
        )
    assert global_batch % micro_batch == 0
    rng = np.random.default_rng([seed, epoch])
    length_N, image_N = np.asarray(lengths), np.asarray(has_image, dtype=bool)
    grouped: list[np.ndarray] = []
    leftover: list[np.ndarray] = []
    for modality in (True, False):
        shuffled = rng.permutation(np.flatnonzero(image_N == modality))
        whole = len(shuffled) // global_batch * global_batch
        grouped += list(shuffled[:whole].reshape(-1, global_batch))
        leftover.append(shuffled[whole:])
    rng.shuffle(grouped)
    rest = rng.permutation(np.concatenate(leftover))
    whole = len(rest) // global_batch * global_batch
    grouped += list(rest[:whole].reshape(-1, global_batch))
    return np.stack([_deal(batch, length_N, global_batch // micro_batch) for batch in grouped])


def _deal(batch: np.ndarray, length_N: np.ndarray, num_chunks: int) -> np.ndarray:
    """Deal a global batch, longest first, each to the so far shortest micro-batch that has room."""
    size = len(batch) // num_chunks
    chunks: list[list[int]] = [[] for _ in range(num_chunks)]
    totals = [0] * num_chunks
    for index in sorted(batch, key=lambda index: -length_N[index]):
        shortest = min((c for c in range(num_chunks) if len(chunks[c]) < size), key=lambda c: totals[c])
        chunks[shortest].append(int(index))
        totals[shortest] += int(length_N[index])
    return np.array(chunks)


def micro_batches(
    lengths: Sequence[int],
    has_image: Sequence[bool],
    *,
    global_batch: int,
    micro_batch: int,
    seed: int,
    first_step: int,
    last_step: int,
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[list[int]]:
    """Micro-batches of this rank for steps [first_step, last_step), epochs following one another.

    Knows nothing of what came before `first_step`, so a resumed run sees the samples it would have seen.
    """
    order, cached_epoch = np.empty(0), -1
    steps_per_epoch = max(1, len(lengths) // global_batch)  # LLaVA's 665,298 samples at 128: 5,197
    for step in range(first_step, last_step):
        epoch, index = divmod(step, steps_per_epoch)
        if epoch != cached_epoch:
            order, cached_epoch = (
                epoch_order(lengths, has_image, global_batch, micro_batch, seed, epoch),
                epoch,
            )
        for chunk in order[index][rank::world_size]:
            yield chunk.tolist()
