"""`viral microworld`."""

from pathlib import Path
from typing import Annotated

import typer


def microworld(
    out: Annotated[Path, typer.Option(help="Folder for data/ and benchmarks/.")] = Path("world"),
    samples: Annotated[int, typer.Option(min=1, help="Conversations of the instruction data.")] = 3200,
) -> None:
    """Draw the micro-world: instruction data and benchmarks in the layouts of the real ones."""
    from pipelines.microworld import draw_world

    draw_world(out, samples)
    typer.echo(f"wrote {out}/data and {out}/benchmarks")
