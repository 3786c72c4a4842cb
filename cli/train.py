"""`viral train` and `viral export`."""

from pathlib import Path
from typing import Annotated

import typer

from cli.train_options import (
    AsJson,
    Config,
    DryRun,
    Log,
    NumRanks,
    Output,
    Resume,
    Settings,
    Tflops,
    VisionCache,
    check_options,
    interruptible,
    is_main,
)
from cli.train_text import print_estimate


def train(
    settings: Settings = None,
    cache: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]PATH",
            help="Feature store made by `viral cache build`; with NAME, that of the term also.NAME.",
        ),
    ] = None,
    vision_cache: VisionCache = None,
    recipe: Annotated[
        str | None, typer.Option(help="Named run to start from (default: llava15_7b_viral).")
    ] = None,
    config: Config = None,
    output: Output = None,
    resume: Resume = False,
    log: Log = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    ranks: NumRanks = None,
    tflops: Tflops = None,
) -> None:
    """Fine-tune the MLLM against cached teacher features (or without them: align.objective=none)."""
    from pipelines.training.run import Command, train_command

    check_options(dry_run, as_json, ranks, tflops)
    command = Command(
        settings=settings or [], recipe=recipe, config=config, output=output, resume=resume, log=log or []
    )
    if dry_run:
        print_estimate(command, cache or [], vision_cache, ranks=ranks, tflops=tflops, as_json=as_json)
        return
    with interruptible():
        checkpoint = train_command(command, cache or [], vision_cache)
    if is_main():
        typer.echo(f"done: {checkpoint}")
        typer.echo(f"next: viral export --run {checkpoint.parent.parent} --out DIR")


def export(
    run: Annotated[Path, typer.Option(help="Folder of a training run.")],
    out: Annotated[Path, typer.Option(help="New folder for the merged model.")],
    step: Annotated[int | None, typer.Option(help="Checkpoint to export (default: the newest).")] = None,
) -> None:
    """Merge a run's adapter into its base and write a plain Hugging Face folder."""
    from pipelines.training.export import export_run

    typer.echo(
        f"wrote {export_run(run, out, step)}; load it with AutoModelForImageTextToText.from_pretrained"
    )
