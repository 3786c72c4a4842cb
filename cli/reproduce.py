"""`viral reproduce`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cli.reproduce_text import needs_text, split_launcher, steps_text

MISSING, INTERRUPTED = 2, 130


def reproduce(
    target: Annotated[str, typer.Argument(help="table1 .. table6, fig2, fig4, fig5, fig6, fig9 .. fig12.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...", help="Settings of every training run, e.g. backend=deepspeed."
        ),
    ] = None,
    scale: Annotated[
        str, typer.Option(help="micro (the micro-world, minutes) or full (the paper's).")
    ] = "micro",
    root: Annotated[
        Path | None, typer.Option(help="Folder for all that is made (default: reproduction/SCALE).")
    ] = None,
    playground: Annotated[Path, typer.Option(help="Folder of the data at full scale.")] = Path("playground"),
    seeds: Annotated[int, typer.Option(help="Training seeds of every row.")] = 1,
    profile: Annotated[
        str | None, typer.Option(help="Of evaluation: paper or clean (default: paper; at micro scale clean).")
    ] = None,
    with_release: Annotated[
        bool, typer.Option("--with-release", help="Add a row that does what the public release does.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="RECIPE", help="Only this row and its baseline; may be repeated."),
    ] = None,
    local: Annotated[
        list[str] | None,
        typer.Option(metavar="ID=PATH", help="Weights that stand for a hub id; may be repeated."),
    ] = None,
    launcher: Annotated[
        str | None,
        typer.Option(help="Words in front of training commands: 'torchrun --nproc-per-node 4 --no-python'."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only say what is here and what is missing.")
    ] = False,
    print_: Annotated[bool, typer.Option("--print", help="Only print the commands.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --check: print JSON.")] = False,
) -> None:
    """Run a table or figure of the paper again, or what is missing of it. Exit code 2: something is not here yet."""
    from pipelines.reproduce.request import make_request
    from pipelines.reproduce.story import carry_out, plan
    from viral.errors import ConfigError

    if as_json and not check:
        raise ConfigError("--json goes with --check; add it, or leave it out.")
    words = split_launcher(launcher)
    request = make_request(
        target,
        scale=scale,
        root=root,
        playground=playground,
        seeds=seeds,
        profile=profile,
        with_release=with_release,
        only=only or [],
        local=local or [],
        settings=settings or [],
    )
    planned = plan(request, words)
    if print_:
        typer.echo(steps_text(planned.graph, words))
        return
    if check or planned.missing:
        needs = [asdict(need) for need in planned.needs]
        typer.echo(json.dumps(needs, indent=2) if as_json else needs_text(planned.needs))
        raise typer.Exit(MISSING if planned.missing else 0)
    try:
        finished = carry_out(planned, words, say=typer.echo)
    except KeyboardInterrupt as stop:
        typer.echo("stopped; run the same command again, what is finished is kept", err=True)
        raise typer.Exit(INTERRUPTED) from stop
    typer.echo(finished.text)
    for path in finished.files:
        typer.echo(f"wrote {path}")
