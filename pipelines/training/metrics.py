"""What a step reports: means over ranks."""

import math
import resource
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from pipelines.training.ranks import Ranks
from viral.data.dataset import Batch
from viral.errors import DataError
from viral.mllm.aligned import MAIN, Losses


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """One optimizer step. Losses are means over the micro-batches of all ranks; times in seconds, of rank 0."""

    step: int
    loss: float
    lm: float
    terms: dict[str, float | None]
    """Mean `NAME/loss`, or `NAME/cosine` corrected for the codec's own loss (kappa); None without images or teacher."""
    skipped: int
    """Images that averaging as the release does left out of the terms."""
    lr: float
    tokens: int
    """Of all ranks, without padding."""
    truncated: int
    """Samples cut at `data.max_length`."""
    step_time: float
    data_wait: float
    """Mean over ranks."""
    peak_memory: int
    """Bytes, of the rank that has most: of its device on a GPU, of its process on a CPU."""

    def values(self) -> dict[str, Any]:
        """By the names of `metrics.jsonl`, whose line of this step it is."""
        named: dict[str, Any] = {}
        for name, value in asdict(self).items():
            named |= value if name == "terms" else {"loss/lm" if name == "lm" else name: value}
        return named


@dataclass(frozen=True, slots=True)
class Means:
    """A step's `Tally` over all ranks."""

    loss: float
    lm: float
    terms: dict[str, float | None]
    skipped: int
    tokens: int
    truncated: int
    data_wait: float
    peak_memory: int


@dataclass(slots=True)
class Tally:
    """Losses of one rank's micro-batches, left on the device until the step is over."""

    totals: list[torch.Tensor] = field(default_factory=list)
    lms: list[torch.Tensor] = field(default_factory=list)
    terms: dict[str, list[torch.Tensor]] = field(default_factory=dict)
    """Only of micro-batches with images."""
    skipped: int = 0
    samples: list[list[str]] = field(default_factory=list)
    tokens: int = 0
    truncated: int = 0
    data_wait: float = 0.0

    def add(self, losses: Losses, batch: Batch) -> None:
        """Count one micro-batch."""
        self.totals.append(losses.total.detach())
        self.lms.append(losses.lm.detach())
        for name, loss in losses.terms.items():
            self.terms.setdefault(name, []).append(loss.detach())
        self.skipped += losses.skipped
        self.samples.append(batch.ids)
        self.tokens += batch.num_tokens
        self.truncated += batch.num_truncated

    def over_ranks(self, ranks: Ranks, step: int, names: Sequence[str]) -> Means:
        """Means over the micro-batches of all ranks, `names` being the terms that any of them may have.

        Raises:
            DataError: a loss of this rank is not finite; names its samples.
            RankError: one of another rank is not.
        """
        totals, lms = _numbers(self.totals), _numbers(self.lms)
        terms = [_numbers(self.terms.get(name, [])) for name in names]
        bad = [index for index, total in enumerate(totals) if not math.isfinite(total)]
        rows = ranks.gather(
            [
                len(bad), sum(totals), sum(lms), len(totals), self.skipped, self.tokens, self.truncated,
                self.data_wait,
                *map(sum, terms), *map(len, terms), _peak_memory(ranks.device),
            ]
        )  # fmt: skip
        if bad:
            parts = {"lm": lms, **dict(zip(names, terms, strict=True))}
            odd = [name for name, values in parts.items() if not all(map(math.isfinite, values))]
            raise DataError(
                f"Loss is {totals[bad[0]]} at step {step + 1} with samples {', '.join(self.samples[bad[0]][:8])}; "
                f"nothing was updated. Not finite: {', '.join(odd) or 'their sum'}. Look at these samples and their "
                "cached targets, or lower optim.lr."
            )
        num_bad, total, lm, count, skipped, tokens, truncated, wait, *rest = rows.sum(0).tolist()
        sums, counts = rest[: len(names)], rest[len(names) : 2 * len(names)]
        if num_bad and ranks.watch:
            ranks.watch.raise_cause()
        return Means(
            loss=total / count,
            lm=lm / count,
            terms={
                name: term / num if num else None for name, term, num in zip(names, sums, counts, strict=True)
            },
            skipped=int(skipped),
            tokens=int(tokens),
            truncated=int(truncated),
            data_wait=wait / ranks.size,
            peak_memory=int(rows[:, -1].max()),
        )


def named_terms(losses: Mapping[str, float | None], kappas: Mapping[str, float]) -> dict[str, float | None]:
    """Mean losses by term as they are logged: those in `kappas` are cosines, the codec's own loss divided out."""
    named: dict[str, float | None] = {f"{MAIN}/cosine": None}
    for name, loss in losses.items():
        if name in kappas:
            named[f"{name}/cosine"] = None if loss is None else -loss / kappas[name]
        else:
            named[f"{name}/loss"] = loss
    return named


def _numbers(scalars: list[torch.Tensor]) -> list[float]:
    return torch.stack(scalars).tolist() if scalars else []


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
