"""Finished tables, from stored replies to Markdown and HTML."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from pipelines.report.figures import Analysis
from pipelines.reproduce.graph import plan_graph
from pipelines.reproduce.markdown import figures_markdown, markdown
from pipelines.reproduce.page import page
from pipelines.reproduce.result import read_table
from pipelines.reproduce.shuffles import read_shuffles
from pipelines.reproduce.table import Cell, Line, Table
from viral.benchmarks import get_benchmark, load_items
from viral.microworld.benchmarks import write_benchmarks

SMALL = {
    "num_count": 8, "num_relation": 8, "num_pairs": 4, "num_pope_images": 4, "num_coco": 8, "num_sets": 2,
    "num_per_category": 4, "num_mme_images": 2,
}  # fmt: skip


def table(*cells: Cell) -> Table:
    columns = tuple(f"bench{index}" for index in range(len(cells)))
    line = Line(labels=("A & B",), cells=cells, runs=("run",), settings="recipe r", section="first")
    return Table(
        name="t", title="Title <x>", made="Made so.", legend="Legend.", heads=("Row",), columns=columns,
        scores=columns, lines=(line,), notes=("a note",), left_out=("a row: why",),
    )  # fmt: skip


CELLS = (
    Cell(paper=57.59, note="57.59 fits no count", ours=50.0, interval=(45.0, 55.0)),
    Cell(
        paper=33.33, paper_delta=5.13, ours=30.0, interval=(20.0, 40.0), delta=1.5, delta_interval=(-2.0, 5.0),
        verdict="within noise",
    ),
    Cell(ours=1.0, delta=4.0, delta_interval=(2.0, 6.0), verdict="significant"),
)  # fmt: skip


def test_markdown_says_all_three_and_marks_noise():
    text = markdown(table(*CELLS))
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    assert rows[0] == ["Row", "", "bench0", "bench1", "bench2"]
    assert rows[2][0] == "*first*"
    assert rows[3] == ["A & B", "paper", "57.59 [a]", "33.33 (+5.13)", ""]
    assert rows[4] == ["", "ours", "50.00 [45.00, 55.00]", "30.00 [20.00, 40.00]", "1.00"]
    assert rows[5] == ["", "difference", "-", "+1.50 [-2.00, +5.00] ~", "+4.00 [+2.00, +6.00]"]
    for expected in (
        "[a] 57.59 fits no count",
        "- a note",
        "- a row: why",
        "- run: recipe r",
        "Made so. Legend.",
    ):
        assert expected in text


def drawn(folder: Path) -> Analysis:
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3)).save(folder / "f.png")
    return Analysis(title="Look", settings={}, models={}, figures=[(folder / "f.png", "A <caption>")])


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "link", "img", "input", "br"):
            self.open.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_well_formed_escapes_names_and_asks_nothing_of_the_network(tmp_path):
    text = page(
        "Title <x>", made="Made so.", shows="less & more", table=table(*CELLS), analyses=[drawn(tmp_path)],
        notes=["a fact"], left_out=["a row: why"],
    )  # fmt: skip
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert all(source.startswith(("data:", "#")) for source in tags.sources)
    assert "Title &lt;x&gt;" in text
    assert "A &amp; B" in text
    assert "57.59 fits no count" in text
    for expected in ("A &lt;caption&gt;", "less &amp; more", "a fact", "a row: why", "run: recipe r"):
        assert expected in text
    assert text.count("<tr") == 2 + 1 + 1 + 3
    assert text.count('class="noise"') == 1
    assert "+1.50<small>[\u22122.00, +5.00] ~</small>" in text


def test_markdown_shows_figures_where_they_lie(tmp_path):
    text = figures_markdown([drawn(tmp_path / "analyses/a")], tmp_path / "results", "less & more")
    assert text == "\nThe paper: less & more\n\n![f](../analyses/a/f.png)\n\nA <caption>\n"


def answer(folder: Path, benchmarks: Path, names, *, wrong: int) -> None:
    """Replies with the gold answers, but for the first `wrong` items of each benchmark."""
    for name in names:
        items = load_items(get_benchmark(name), benchmarks, "clean")
        (folder / name).mkdir(parents=True)
        with (folder / name / "replies.jsonl").open("w") as file:
            for index, item in enumerate(items):
                file.write(json.dumps({"id": item.id, "reply": "?" if index < wrong else item.answer}) + "\n")


def test_golden_replies_become_the_papers_table(request_of):
    request = request_of("table1")
    graph = plan_graph(request)
    write_benchmarks(request.place.benchmarks, **SMALL)
    for row in graph.rows:
        folder = request.place.replies(row.runs[0], "clean")
        answer(folder, request.place.benchmarks, request.target.benchmarks, wrong=4 if row.is_baseline else 0)
    made = read_table(request, graph)
    before, after = made.lines
    assert [cell.paper for cell in before.cells] == list(graph.rows[0].printed.values)
    assert all(cell.delta is None for cell in before.cells)
    for low, high in zip(before.cells, after.cells, strict=True):
        assert high.ours >= low.ours
        assert high.delta == pytest.approx(high.ours - low.ours)
        assert high.delta_interval[0] <= high.delta <= high.delta_interval[1]
    assert after.cells[0].ours == pytest.approx(100.0)
    assert "CV-Bench2D" in markdown(made)
    assert "MME" in made.columns


def test_table_3_shows_both_tasks_beside_the_printed_counts(request_of):
    request = request_of("table3")
    graph = plan_graph(request)
    found = {
        "total": 600, "original": 300, "permuted": {"0": 270, "1": 280, "2": 275}, "mean": 275.0, "range": [270, 280],
        "change": -25.0, "change_interval": [-40.0, -10.0], "change_percent": -8.33,
    }  # fmt: skip
    data = {run.name: {"count": found, "relation": found} for job in graph.jobs for run in job.runs}
    folder = request.place.analysis(graph.jobs[0].folder)
    folder.mkdir(parents=True)
    (folder / "permutation.json").write_text(json.dumps({"data": data}))
    made = read_shuffles(request, graph)
    assert [line.labels[2] for line in made.lines] == [
        "printed, of 788",
        "count, of 600",
        "relation, of 600",
    ] * 2
    assert [cell.paper for cell in made.lines[0].cells] == [400, 374, -26, -6.5]
    assert made.lines[1].cells[1].interval == (270, 280)
    assert "| 275.0 [270.0, 280.0] | -25.0 [-40.0, -10.0] |" in markdown(made)
    found["change_interval"] = [-40.0, 1.0]
    (folder / "permutation.json").write_text(json.dumps({"data": data}))
    assert "-25.0 [-40.0, 1.0] ~ |" in markdown(read_shuffles(request, graph))
    assert read_shuffles(request_of("fig5"), plan_graph(request_of("fig5"))) is None
