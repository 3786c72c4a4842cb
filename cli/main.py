"""Entry point of `viral`: registers the commands and turns user errors into one line and exit code 2."""

import sys

import typer

from cli import cache, evaluate, train
from cli.demo import demo
from stores.errors import StoreError
from viral.errors import ViralError

app = typer.Typer(
    name="viral",
    help="Keep an MLLM's visual tokens visual: cache a vision teacher once, train against it for free.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(cache.app, name="cache")
app.command("train")(train.train)
app.command("export")(train.export)
app.command("eval")(evaluate.eval_)
app.command("score")(evaluate.score)
app.command("generate")(evaluate.generate)
app.command("demo")(demo)


def main() -> None:
    """Run `viral`. Exit codes: 0 done, 1 verification found damage, 2 the input is wrong, 130 interrupted."""
    try:
        app()
    except (ViralError, StoreError) as error:
        message = " ".join(str(error.args[0] if error.args else error).split())
        typer.echo(f"error: {message}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)
