"""`viral demo`."""

import os
from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="Folder for data, cache, runs and report.html.")] = Path("demo"),
) -> None:
    """Run everything on the embedded micro-world: cache, baseline and VIRAL, evaluation, report.html."""
    # Read when torch is first imported. Waiting threads that spin for long make a shared machine ten times slower;
    # threads that do not spin at all lose what a second core gains.
    os.environ.setdefault("GOMP_SPINCOUNT", "30000")
    from pipelines.demo import run_demo

    result = run_demo(out, say=typer.echo)
    typer.echo(result.table)
    typer.echo(result.verdict)
    typer.echo(f"report: {result.report}")
