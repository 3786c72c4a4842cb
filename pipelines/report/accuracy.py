"""The section of scores: every model's own, each against the baseline, and what one may not read into them."""

from collections.abc import Mapping, Sequence

from pipelines.comparison import Row
from pipelines.report.evaluations import Evaluation, shared
from pipelines.report.page import Section
from pipelines.report.tables import interval_table, score_table
from pipelines.report.text import html
from pipelines.report.words import caveats, evidence, significant, verdict
from viral.benchmarks import get_benchmark, get_profile

Differences = Mapping[str, Sequence[Row]]
"""Label of a model -> its rows against the baseline."""


def accuracy_section(evaluations: Sequence[Evaluation], differences: Differences) -> Section:
    """Score table, a table of differences per model, notes."""
    base = evaluations[0]
    scores = {evaluation.label: evaluation.scores for evaluation in evaluations}
    tables = "".join(
        f"<h3>{html(label)} against {html(base.label)}</h3>{interval_table(rows, base.label, label)}"
        for label, rows in differences.items()
        if rows
    )
    notes = dict.fromkeys(note for rows in differences.values() if rows for note in caveats(rows))
    body = (
        f'<p class="prose">{html(_profile(base.profile))}</p>{score_table(scores, tasks=not tables)}{tables}'
        f"{notes_block([*notes, *_remarks(evaluations)])}"
    )
    return Section("accuracy", "Accuracy", body)


def notes_block(notes: Sequence[str]) -> str:
    """Short paragraphs below a table."""
    return f'<div class="notes">{"".join(f"<p>{html(note)}</p>" for note in notes)}</div>' if notes else ""


def lead(evaluations: Sequence[Evaluation], differences: Differences) -> str:
    """The page's first sentence."""
    names = [evaluation.label for evaluation in evaluations]
    if len(names) < 2:
        return f"{names[0]} alone, with nothing to compare it with." if names else ""
    compared = {label: rows for label, rows in differences.items() if rows}
    same = [label for label, rows in compared.items() if not significant(rows)]
    told = [
        verdict(rows, label, f"{label} and {names[0]}")
        for label, rows in compared.items()
        if label not in same
    ]
    if same:
        told.append(f"No significant difference between {names[0]} and {', '.join(same)}.")
    return " ".join(told) or f"No benchmark that both {names[0]} and another answered."


def statements(differences: Differences) -> list[str]:
    """One line per benchmark; of several models only those of significant differences, after Holm's correction."""
    if len(differences) == 1:
        return [line for rows in differences.values() for line in evidence(rows)]
    return [f"{label}, {line}" for label, rows in differences.items() for line in evidence(significant(rows))]


def _profile(name: str) -> str:
    shown = get_profile(name)
    square = {"crop": "cropped to a square", "pad": "padded to a square"}[shown.image_mode]
    return f"Profile {name}: pictures {square}, template {shown.template}, greedy decoding."


def _remarks(evaluations: Sequence[Evaluation]) -> list[str]:
    """What a reader must know about these data."""
    base, *others = evaluations
    small = dict.fromkeys(
        get_benchmark(name).title
        for evaluation in evaluations
        for name, entry in evaluation.scores.items()
        if not entry["published_size"]
    )
    remarks = []
    if small:
        remarks.append(
            f"{', '.join(small)}: a declared subset, or other data in the same format; not the published benchmark."
        )
    for other in others:
        if alone := [name for name in {**base.scores, **other.scores} if name not in shared(base, other)]:
            titles = ", ".join(get_benchmark(name).title for name in alone)
            remarks.append(
                f"{titles}: answered by only one of {base.label} and {other.label}, so not compared."
            )
    return remarks
