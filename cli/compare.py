"""`viral compare`."""

import json
from pathlib import Path
from typing import Annotated

import typer


def compare(
    baseline: Annotated[
        list[Path], typer.Option(metavar="DIR", help="Output folder of viral eval; once per training seed.")
    ],
    other: Annotated[
        list[Path], typer.Option(metavar="DIR", help="The same of the other side, seeds in the same order.")
    ],
    data: Annotated[Path, typer.Option(help="Folder that holds the benchmarks.")] = Path(
        "playground/benchmarks"
    ),
    benchmarks: Annotated[
        str | None, typer.Option(help="Names, comma-separated (default: all that every folder has).")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="paper or clean (default: that of the generation).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
) -> None:
    """Compare two models on the same questions, or two methods over several training seeds."""
    from pipelines.comparison import compare_runs
    from pipelines.comparison_table import comparison_table, plain_rows

    names = [name.strip() for name in benchmarks.split(",") if name.strip()] if benchmarks else None
    rows = compare_runs(baseline, other, data, names, profile)
    typer.echo(json.dumps(plain_rows(rows), indent=1) if as_json else comparison_table(rows))
