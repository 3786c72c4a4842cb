"""`viral doctor`: what is installed, which device, what is missing."""

import json
from dataclasses import asdict
from typing import Annotated

import typer


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say what this machine has and what is missing. Exit code 1: something that is needed does not work."""
    from pipelines.doctor import examine

    findings = examine()
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        width = max(len(finding.topic) for finding in findings)
        for finding in findings:
            mark = "!" if finding.is_problem else " "
            typer.echo(f"{mark} {finding.topic:<{width}}  {finding.text}")
    if any(finding.is_problem for finding in findings):
        raise typer.Exit(1)
