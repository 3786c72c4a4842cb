"""How `viral reproduce` shows what it needs and what it would run."""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.reproduce.checklist import Need
    from pipelines.reproduce.graph import Graph


def needs_text(needs: "Sequence[Need]") -> str:
    """The shopping list: what is missing with where to get it, then what is here."""
    from stores.space import format_bytes

    def line(need: "Need") -> str:
        size = f", {format_bytes(need.num_bytes)}" if need.num_bytes else ""
        return f"{need.kind}: {need.name}{size}: {need.found}"

    missing = [need for need in needs if not need.is_here]
    lines = [f"missing, {len(missing)}:"] if missing else ["nothing is missing"]
    if folders := {need.folder for need in missing if need.folder}:
        lines[0] += f" commands for data and benchmarks are to be typed in {' and '.join(sorted(folders))}"
    for need in missing:
        lines += [f"  {line(need)}", *(f"      {text}" for text in need.get)]
    if fetched := sum(need.num_bytes or 0 for need in missing if need.get):
        lines.append(
            f"  {format_bytes(fetched)} to fetch; addresses and sizes are their authors', check them there"
        )
    here = [need for need in needs if need.is_here]
    return "\n".join([*lines, f"here, {len(here)}:", *(f"  {line(need)}" for need in here)])


def steps_text(graph: "Graph", launcher: Sequence[str]) -> str:
    """Every command, in order; finished ones are commented out."""
    lines = [f"# left out: {note}" for note in graph.left_out]
    for step in graph.steps:
        mark = "# done: " if step.is_done() else ""
        lines.append(f"{mark}{step.line(launcher)}")
    return "\n".join(lines)


def split_launcher(launcher: str | None) -> list[str]:
    """`--launcher` as words."""
    return shlex.split(launcher or "")
