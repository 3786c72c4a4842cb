"""What `viral train` and `viral pretrain` share: their options, each spelt once, and how they end."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

Settings = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change, e.g. align.layer=8 optim.lr=1e-4."),
]
Config = Annotated[Path | None, typer.Option(help="A config.yaml instead of a recipe.")]
Output = Annotated[Path | None, typer.Option(help="Folder of the run (default: runs/NAME).")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue the run in --output from its last checkpoint.")
]
Log = Annotated[
    list[str] | None,
    typer.Option(help="tensorboard or wandb, beside metrics.jsonl; may be given twice (needs viral[log])."),
]
VisionCache = Annotated[
    Path | None,
    typer.Option(
        help="Store of the student's own tower (`viral cache build --vfm tower --codec bf16`): training then loads "
        "neither tower nor images."
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what the run would be; nothing is loaded or written.")
]
AsJson = Annotated[bool, typer.Option("--json", help="With --dry-run: print JSON.")]
NumRanks = Annotated[
    int | None, typer.Option("--ranks", min=1, help="With --dry-run: devices (default: WORLD_SIZE, else 1).")
]
Tflops = Annotated[
    float | None,
    typer.Option(
        min=0.001,
        help="With --dry-run: 10^12 operations a second that one device reaches (default: a matrix product here).",
    ),
]


def is_main() -> bool:
    """Whether this is the one of several processes that speaks."""
    from pipelines.engines.world import read_world

    return read_world().rank == 0


def check_options(dry_run: bool, as_json: bool, ranks: int | None, tflops: float | None) -> None:
    """Refuse options that would be ignored.

    Raises:
        ConfigError: options of an estimate, and none is asked for.
    """
    from viral.errors import ConfigError

    if not dry_run and (as_json or ranks or tflops):
        raise ConfigError("--json, --ranks and --tflops go with --dry-run; add it, or leave them out.")


@contextmanager
def interruptible() -> Iterator[None]:
    """Around training: a stop that was asked for is one line and exit code 130."""
    try:
        yield
    except KeyboardInterrupt as stop:
        if is_main():
            typer.echo(f"{stop or 'interrupted'}; the same command with --resume continues.", err=True)
        raise typer.Exit(130) from stop
