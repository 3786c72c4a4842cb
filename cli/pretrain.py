"""`viral pretrain`."""

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


def pretrain(
    settings: Settings = None,
    vision_cache: VisionCache = None,
    recipe: Annotated[
        str | None, typer.Option(help="Named run to start from (default: llava15_7b_pretrain).")
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
    """Stage one: train the projector between a tower and an LLM, both frozen, on image-caption pairs."""
    from pipelines.training.run import Command, pretrain_command

    check_options(dry_run, as_json, ranks, tflops)
    command = Command(
        settings=settings or [], recipe=recipe, config=config, output=output, resume=resume, log=log or []
    )
    if dry_run:
        print_estimate(command.pretraining(), [], vision_cache, ranks=ranks, tflops=tflops, as_json=as_json)
        return
    with interruptible():
        projector = pretrain_command(command, vision_cache)
    if is_main():
        typer.echo(f"done: {projector}")
        typer.echo(f"next: viral train --recipe NAME --cache PATH model.projector={projector}")
