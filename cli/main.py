"""Entry point of `viral`: registers the commands and turns user errors into one line and exit code 2."""

import logging
import os
import sys
from typing import NoReturn

import typer

from cli import analyze, cache, cache_move, evaluate, train
from cli.compare import compare
from cli.demo import demo
from cli.doctor import doctor
from cli.microworld import microworld
from cli.pretrain import pretrain
from cli.report import report
from cli.reproduce import reproduce
from cli.teachers import teachers
from stores.errors import StoreError
from viral.errors import ViralError

app = typer.Typer(
    name="viral",
    help="Keep an MLLM's visual tokens visual: cache a vision teacher once, train against it for free.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for move in (cache_move.export, cache_move.merge, cache_move.append):
    cache.app.command()(move)
app.add_typer(cache.app, name="cache")
app.add_typer(analyze.app, name="analyze")
app.command("teachers")(teachers)
app.command("pretrain")(pretrain)
app.command("train")(train.train)
app.command("export")(train.export)
app.command("eval")(evaluate.eval_)
app.command("score")(evaluate.score)
app.command("compare")(compare)
app.command("generate")(evaluate.generate)
app.command("report")(report)
app.command("demo")(demo)
app.command("microworld")(microworld)
app.command("reproduce")(reproduce)
app.command("doctor")(doctor)


def main() -> None:
    """Run `viral`. Exit codes: 0 done, 1 verification found damage, 2 the input is wrong, 130 interrupted."""
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # names need not be text
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # those of transformers, too
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    for package in ("pipelines", "stores", "viral"):
        logging.getLogger(package).setLevel(logging.INFO)
    try:
        app()
    except (ViralError, StoreError) as error:
        _fail(error.args[0] if error.args else error)
    except (
        OSError
    ) as error:  # a disk that is full, a file without permission, a folder where a file should be
        name = error.filename2 or error.filename  # of a rename that fails the name that the user gave
        _fail(f"{error.strerror or error}: {name}" if name else error)


def _fail(message: object) -> NoReturn:
    typer.echo(f"error: {' '.join(str(message).split())}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
