"""`viral demo`."""

import os
from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="Folder for data, cache, runs and report.html.")] = Path("demo"),
) -> None:
    """Run everything on the embedded micro-world: cache, baseline and VIRAL, evaluation, report.html."""
    # Read when torch is first imported: waiting threads that spin make a shared machine ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from pipelines.demo import run_demo

    result = run_demo(out, say=typer.echo)
    typer.echo(result.table)
    typer.echo(result.verdict)
    typer.echo(f"report: {result.report}")
