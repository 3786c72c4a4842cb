"""What alignment costs a training step, way by way: all ways train one student in turns, in one process.

    python bench/overhead.py                                                    # scaled LLaVA, on a CPU
    python bench/overhead.py --student vicuna-7b --device cuda --micro-batch 8  # real sizes, random weights

Weights are random, so only times, memory and operations mean anything; that all ways compute the same losses is checked
before the clock starts. A step is one micro-batch and one update. On a CPU seconds are those of the processor, for the
machine may be shared, and images are decoded in the step; on a GPU they are wall time, and worker processes decode.
"""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from overhead_students import STUDENTS, Material, prepare
from overhead_ways import AllLogits, ReleaseStyle
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from pipelines.training.caches import CachedTeacher
from pipelines.training.online import OnlineTeacher
from pipelines.training.timing import alternate, median_ratio
from pipelines.training.vision import VisionCache
from pipelines.workers import PREFETCH
from viral.data.dataset import Batch, InstructionDataset, collate
from viral.data.images import normalise
from viral.mllm.aligned import MAIN, AlignedMllm, Losses


@dataclass(frozen=True)
class Way:
    """One way to do a step."""

    name: str
    module: type[AlignedMllm]
    teacher: str = "cached"
    """`none`, `online` or `cached`."""
    vision_cache: bool = False


WAYS = (
    Way("baseline, all logits", AllLogits, "none"),
    Way("as the release, online", ReleaseStyle, "online"),
    Way("ours online, all logits", AllLogits, "online"),
    Way("ours cached, all logits", AllLogits),
    Way("+ vision cache, all logits", AllLogits, vision_cache=True),
    Way("+ needed logits (the product)", AlignedMllm, vision_cache=True),
    Way("baseline, needed logits", AlignedMllm, "none"),
)


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        material = prepare(
            options.student, Path(folder), options.device, options.micro_batch, options.checkpointing
        )
        steppers = [Stepper(way, material, options) for way in WAYS]
        check(steppers)
        flops = [stepper.count() for stepper in steppers]
        ceiling = matmul_ceiling(material.device, material.dtype)
        seconds = alternate([stepper.step for stepper in steppers], options.pairs, warmup=options.warmup)
    print(
        f"{options.student}, {material.device}, {material.dtype}, torch {torch.__version__}; "
        f"micro-batch of {options.micro_batch}, {options.pairs} rounds; matmul ceiling {ceiling / 1e12:.3g} TFLOP/s"
    )
    print("| way | ms | step / baseline | 95 % | floor | tokens/s | of ceiling | memory, GB | data wait |")
    print("|---|--:|--:|---|--:|--:|--:|--:|--:|")
    for index, stepper in enumerate(steppers):
        print(row(stepper, seconds[:, [0, index]], flops[index], flops[0], ceiling))


def row(stepper: "Stepper", seconds: np.ndarray, flops: int, base: int, ceiling: float) -> str:
    """One line of the table; `seconds` of the baseline and of this way, pair by pair."""
    ratio, low, high = median_ratio(seconds)
    median = float(np.median(seconds[:, 1]))
    memory = f"{stepper.peak / 1e9:.2f}" if stepper.peak else "-"
    return (
        f"| {stepper.way.name} | {1000 * median:,.0f} | {ratio:.3f} | {low:.3f} to {high:.3f} | {flops / base:.3f} | "
        f"{stepper.tokens / median:,.0f} | {flops / median / ceiling:.0%} | {memory} | "
        f"{np.median(stepper.waits) / median:.1%} |"
    )


class Stepper:
    """Steps of one way, on the student that all share."""

    def __init__(self, way: Way, material: Material, options: argparse.Namespace) -> None:
        self.way, self.material, self.device = way, material, material.device
        self.peak, self.tokens, self.waits = 0, 0, list[float]()
        grid = material.student.image.grid
        teacher: CachedTeacher | OnlineTeacher | None = {
            "none": None,
            "online": OnlineTeacher(material.teacher),
            "cached": CachedTeacher(material.targets.path, material.targets.store, is_target=True),
        }[way.teacher]
        vision = VisionCache(material.features.path, material.features.store) if way.vision_cache else None
        keys = material.keys if vision else None
        self._decode = teacher.decoder(self.device, grid) if teacher else None
        self._see = vision.decoder(self.device, material.dtype) if vision else None
        dataset = InstructionDataset(
            material.samples,
            material.images,
            material.encoding,
            {MAIN: teacher.source(keys)} if teacher else {},
            vision.source(material.keys) if vision else None,
        )
        self._batches = iter(self._loader(dataset, options))

    def step(self) -> float:
        """Seconds of one step."""
        module, cuda = self._module(), self.device.type == "cuda"
        if cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        start = self.material.clock()
        batch = next(self._batches)
        self.waits.append(self.material.clock() - start)
        losses = self._forward(module, batch)
        losses.total.backward()
        self.material.optimizer.step()
        self.material.optimizer.zero_grad(set_to_none=True)
        module.after_step(losses) if isinstance(module, ReleaseStyle) else float(losses.total.detach())
        seconds = self.material.clock() - start
        self.tokens = batch.num_tokens
        if cuda:
            self.peak = torch.cuda.max_memory_allocated() - self.material.unused(
                self.way.teacher, self.way.vision_cache
            )
        close(module)
        return seconds

    def losses(self) -> Losses:
        """Of the first batch, without dropout."""
        module = self._module().eval()
        with torch.no_grad():
            found = self._forward(module, next(self._batches))
        module.train()
        module.core.vision_tower.eval()
        close(module)
        return found

    def count(self) -> int:
        """Operations of one forward and backward."""
        module, batch = self._module(), next(self._batches)
        with FlopCounterMode(display=False) as counter:
            self._forward(module, batch).total.backward()
        self.material.optimizer.zero_grad(set_to_none=True)
        close(module)
        return int(counter.get_total_flops())

    def _module(self) -> AlignedMllm:
        terms = {} if self.way.teacher == "none" else self.material.terms
        return self.way.module(self.material.adapted, terms)

    def _forward(self, module: AlignedMllm, batch: Batch) -> Losses:
        def move(value: torch.Tensor) -> torch.Tensor:
            return value.to(self.device, non_blocking=True)

        if self._see and batch.features is not None:
            images = {"features": self._see(move(batch.features))}
        else:
            images = {"pixels": normalise(move(batch.squares), self.material.student.pixels)}
        targets = (
            {name: self._decode(move(codes)) for name, codes in batch.codes.items()} if self._decode else {}
        )
        bf16 = self.material.dtype == torch.bfloat16
        with torch.autocast(self.device.type, torch.bfloat16) if bf16 else nullcontext():
            return module(
                input_ids=move(batch.input_ids), labels=move(batch.labels), targets=targets, **images
            )

    def _loader(self, dataset: InstructionDataset, options: argparse.Namespace) -> DataLoader:
        workers = options.workers if self.device.type == "cuda" else 0
        return DataLoader(
            dataset,
            batch_sampler=_same_batches(len(dataset), options.micro_batch),
            collate_fn=partial(collate, pad_token_id=self.material.student.tokenizer.pad_token_id),
            num_workers=workers,
            prefetch_factor=PREFETCH if workers else None,
            pin_memory=self.device.type == "cuda",
        )


def close(module: AlignedMllm) -> None:
    """Take a way's hooks off the student that it shares."""
    if module._tap:
        module._tap.close()


def check(steppers: list[Stepper]) -> None:
    """All ways compute the same losses, as far as codec int8 of the targets lets them."""
    found = [stepper.losses() for stepper in steppers]
    align = next(losses.align for losses in found if losses.terms)
    for losses in found:
        torch.testing.assert_close(losses.lm, found[0].lm, rtol=5e-3, atol=5e-3)
        if losses.terms:
            torch.testing.assert_close(losses.align, align, rtol=1e-2, atol=1e-2)


def matmul_ceiling(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of a large matrix product here: the fastest of some."""
    import time

    side = 8192 if device.type == "cuda" else 1024
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    clock, best = time.perf_counter if device.type == "cuda" else time.process_time, 0.0
    for _ in range(10):
        start = clock()
        left @ right
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = max(best, 2 * side**3 / (clock() - start))
    return best


def _same_batches(num_samples: int, size: int) -> Iterator[list[int]]:
    """The same for every way."""
    start = 0
    while True:
        yield [(start + index) % num_samples for index in range(size)]
        start += size


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--student", choices=STUDENTS, default="scaled")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--micro-batch", type=int, default=4)
    parser.add_argument("--checkpointing", default="none", help="none, full, auto or n")
    parser.add_argument("--pairs", type=int, default=20, help="rounds in which every way does one step")
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--workers", type=int, default=4, help="loading processes of each way, on a GPU")
    return parser.parse_args()


if __name__ == "__main__":
    main()
