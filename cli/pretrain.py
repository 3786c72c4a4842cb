"""`viral pretrain`."""

import os
from pathlib import Path
from typing import Annotated

import typer


def pretrain(
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change, e.g. optim.projector_lr=5e-4."),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Named run to start from (default: llava15_7b_pretrain).")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A config.yaml instead of a recipe.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the run (default: runs/NAME).")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --output from its last checkpoint.")
    ] = False,
) -> None:
    """Stage one: train the projector between a tower and an LLM, both frozen, on image-caption pairs."""
    from pipelines.training.run import pretrain_command

    main = os.environ.get("RANK", "0") == "0"  # the one of several processes that speaks
    try:
        projector = pretrain_command(
            settings or [], recipe=recipe, config=config, output=output, resume=resume
        )
    except KeyboardInterrupt as stop:
        if main:
            typer.echo(f"{stop or 'interrupted'}; the same command with --resume continues.", err=True)
        raise typer.Exit(130) from stop
    if not main:
        return
    typer.echo(f"done: {projector}")
    typer.echo(f"next: viral train --recipe NAME --cache PATH model.projector={projector}")
