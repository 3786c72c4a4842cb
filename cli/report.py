"""`viral report`."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    folders: Annotated[
        list[str],
        typer.Argument(
            metavar="FOLDER...",
            help="Of viral eval (the first is the baseline), viral train, viral analyze, or caches; or LABEL=FOLDER.",
            show_default=False,
        ),
    ],
    data: Annotated[Path, typer.Option(help="Folder with the benchmarks that were evaluated.")] = Path(
        "playground/benchmarks"
    ),
    out: Annotated[Path, typer.Option(help="The page; replaced if it is there.")] = Path("report.html"),
    title: Annotated[str, typer.Option(help="Its heading.")] = "What visual alignment changed",
    max_items: Annotated[
        int, typer.Option(help="Items to browse at most: those that changed, then a sample.")
    ] = 2_000,
) -> None:
    """Write one self-contained HTML page: scores with intervals, every item, curves, figures, fingerprints."""
    from pipelines.report.write import write_report
    from stores.space import format_bytes

    made = write_report(folders, out, data, title=title, max_items=max_items)
    typer.echo(f"{made.summary}; {made.num_items:,} of {made.total_items:,} items")
    typer.echo(f"wrote {made.path} ({format_bytes(made.num_bytes)})")
