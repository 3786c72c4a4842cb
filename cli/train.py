"""`viral train` and `viral export`."""

import os
from pathlib import Path
from typing import Annotated

import typer


def train(
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change, e.g. align.layer=8."),
    ] = None,
    cache: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]PATH",
            help="Feature store made by `viral cache build`; with NAME, that of the term also.NAME.",
        ),
    ] = None,
    vision_cache: Annotated[
        Path | None,
        typer.Option(
            help="Store of the student's own tower (`viral cache build --vfm tower --codec bf16`): training then loads "
            "neither tower nor images."
        ),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Named run to start from (default: llava15_7b_viral).")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A config.yaml instead of a recipe.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the run (default: runs/NAME).")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --output from its last checkpoint.")
    ] = False,
) -> None:
    """Fine-tune the MLLM against cached teacher features (or without them: align.objective=none)."""
    from pipelines.training.run import train_command

    main = os.environ.get("RANK", "0") == "0"  # the one of several processes that speaks
    try:
        checkpoint = train_command(
            settings or [],
            cache=cache or [],
            vision_cache=vision_cache,
            recipe=recipe,
            config=config,
            output=output,
            resume=resume,
        )
    except KeyboardInterrupt as stop:
        if main:
            typer.echo(f"{stop or 'interrupted'}; the same command with --resume continues.", err=True)
        raise typer.Exit(130) from stop
    if not main:
        return
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
        f"wrote {export_run(run, out, step)}; load it with LlavaForConditionalGeneration.from_pretrained"
    )
