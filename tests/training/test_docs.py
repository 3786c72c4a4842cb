"""docs/training.md speaks of the program as it is."""

import ast
import re
import shlex
from pathlib import Path

import pytest
import typer

from cli.main import app
from pipelines.recipes import get_recipe
from pipelines.training.config import parse_overrides, with_overrides

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "training.md").read_text()
ANY = "..."


def messages() -> set[str]:
    """Every text in the program, what is filled in written as `...`."""
    found = set()
    for package in ("pipelines", "viral", "stores"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    parts = (str(p.value) if isinstance(p, ast.Constant) else ANY for p in node.values)
                    found.add("".join(parts))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.add(node.value)
    return found


def test_every_message_of_the_table_exists():
    table = PAGE.split("## When it says")[1].split("\n## ")[0]
    quoted = re.findall(r"^\| `(.*?)` \|", table, flags=re.MULTILINE)
    assert len(quoted) > 20
    known = messages()
    for quote in quoted:
        assert any(quote in message for message in known), quote


def commands() -> list[str]:
    """Each `viral train` or `viral pretrain` of an indented block, launcher and continuation lines joined."""
    lines = [line.split("  #")[0] for line in PAGE.splitlines() if line.startswith("    ")]
    text = "\n".join(lines).replace("\\\n", " ")
    return re.findall(r"viral ((?:train|pretrain) .*?)\'?$", text, flags=re.MULTILINE)


@pytest.mark.parametrize("command", commands())
def test_commands_parse(command: str):
    name, *words = shlex.split(command.replace("$RESUME", "--resume"))
    parameters = typer.main.get_command(app).commands[name].make_context(name, words).params
    with_overrides(get_recipe("llava15_7b_viral"), parse_overrides(list(parameters["settings"] or [])))


def test_figures_of_the_page_follow_from_each_other():
    """Hours of an epoch from operations of a sample, at the rate the table states."""
    samples, rate = 5197 * 128, 400e12
    for row, operations in (("nothing recomputed", 23.25e12), ("all blocks recomputed", 34.1e12)):
        one, four, many = re.search(rf"\| {row} \| ([\d.]+) h \| ([\d.]+) h \| (\d+) min \|", PAGE).groups()
        hours = samples * operations / rate / 3600
        assert float(one) == pytest.approx(hours, rel=0.02)
        assert float(four) == pytest.approx(hours / 4, rel=0.03)
        assert float(many) == pytest.approx(hours / 32 * 60, rel=0.06)
