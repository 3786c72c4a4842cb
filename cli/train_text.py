"""How `--dry-run` shows an estimate."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.train_options import is_main

if TYPE_CHECKING:
    from pipelines.training.estimate import Estimate
    from pipelines.training.run import Command


def print_estimate(
    command: "Command",
    caches: list[str],
    vision_cache: Path | None,
    *,
    ranks: int | None,
    tflops: float | None,
    as_json: bool,
) -> None:
    """Estimate the run of a command line, as JSON or as text."""
    from pipelines.training.run import estimate_command

    found = estimate_command(command, caches, vision_cache, ranks=ranks, tflops=tflops)
    if is_main():
        typer.echo(json.dumps(asdict(found), indent=2) if as_json else estimate_text(found))


def estimate_text(found: "Estimate") -> str:
    """A line for each kind of cost."""
    from stores.space import format_bytes

    def sizes(parts: dict[str, int]) -> str:
        return ", ".join(f"{name} {format_bytes(size)}" for name, size in parts.items())

    steps = f"{found.num_steps:,} steps" if found.num_steps else "unknown, for there are no annotations"
    samples = "" if found.num_samples is None else f"; {found.num_samples:,} samples"
    parts = f"{found.micro_batch_size} samples x {found.num_ranks} ranks x {found.num_micro} micro-batches"
    recipe = "as in" if found.batch_size == found.recipe_batch_size else f"{found.recipe_batch_size} in"
    operations = ", ".join(f"{name} {count / 1e12:.3g}" for name, count in found.sample_flops.items())
    rate = f"{found.tflops:.3g} TFLOP/s a device ({found.tflops_source})"
    spared = found.spared
    rows = {
        "run": found.name,
        "steps": f"{steps}{samples}",
        "global batch": f"{found.batch_size} = {parts}; {recipe} the recipe",
        "trained": ", ".join(f"{g.name} {g.parameters / 1e6:.4g} M at {g.lr:g}" for g in found.trained),
        "frozen": f"{found.frozen_parameters / 1e6:,.0f} M parameters",
        "memory": f"{format_bytes(sum(found.memory.values()))} a device: {sizes(found.memory)}",
        "+ activations": f"{sizes(found.activations)} (gradient_checkpointing, of {found.micro_batch_size} samples of "
        f"{found.tokens_per_sample} tokens; the longest need more)",
        "checkpoints": f"{format_bytes(found.checkpoint_bytes)} each, "
        f"{format_bytes(found.disk_bytes)} with those kept; {format_bytes(found.disk_free)} are free",
        "arithmetic": f"TFLOP a sample: {operations}",
        "time": f"{found.step_seconds:.3g} s a step, {_time(found.seconds)} in all, at {rate}",
    }
    if spared:
        rows["vision cache"] = (
            f"no tower: {format_bytes(spared.bytes)} a device and {spared.flops / 1e12:.3g} TFLOP a sample less than "
            "with images, of which none is read"
        )
    lines = [f"{name:<14}{text}" for name, text in rows.items()]
    return "\n".join([*lines, *(f"{'not at hand':<14}{line}" for line in found.missing)])


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    return f"{seconds / 3600:.3g} h" if seconds >= 3600 else f"{seconds:.3g} s"
