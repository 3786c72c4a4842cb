"""`viral teachers`: which teachers there are, what they cost, and how to obtain their weights."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipelines.teachers import TeacherRow


def teachers(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the teachers: width, token grid, compute and bytes per image, licence, where the weights are."""
    from pipelines.teachers import list_teachers

    rows = list_teachers()
    typer.echo(json.dumps([asdict(row) for row in rows], indent=2) if as_json else _table(rows))


def _table(rows: "list[TeacherRow]") -> str:
    from stores.space import format_bytes

    codecs = list(rows[0].bytes_by_codec)
    head = ["teacher", "dim", "grid", "GFLOPs", *codecs, "licence", "weights"]
    lines = [
        head,
        *(
            [
                ", ".join((row.name, *row.aliases)),
                str(row.dim),
                "x".join(map(str, row.grid)),
                "-" if row.gflops is None else f"{row.gflops:.4g}",
                *(format_bytes(row.bytes_by_codec[codec]) for codec in codecs),
                row.licence,
                "in this package" if row.packaged else row.hub or row.url or "a local file",
            ]
            for row in rows
        ),
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    note = "GFLOPs and bytes are for one image; weights are repositories of the Hugging Face hub. See docs/teachers.md."
    return "\n".join([*table, "", note])
