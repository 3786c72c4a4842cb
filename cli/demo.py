"""`viral demo`."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="Folder for data, cache, runs and report.html.")] = Path("demo"),
) -> None:
    """Run everything on the embedded micro-world: cache, baseline and VIRAL, evaluation, report.html."""
    from pipelines.demo import run_demo

    result = run_demo(out, say=typer.echo)
    typer.echo(result.table)
    typer.echo(f"report: {result.report}")
