"""The report's page and its Markdown twin: complete, self-contained, safe, and honest about noise."""

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.comparison import ALL, HEADLINE, Row, accuracy_row
from pipelines.report.accuracy import statements
from pipelines.report.demo_page import (
    CacheFacts,
    DemoReport,
    Panel,
    StepTime,
    demo_verdict,
    render,
    write_demo_page,
)
from pipelines.report.items import pack
from pipelines.report.pictures import lossless
from pipelines.report.svg import Curve
from pipelines.report.words import evidence, markdown_table
from tests.pipelines.report.html import Page, check_self_contained
from viral.benchmarks import Item


def row(benchmark: str, task: str, before: str, after: str) -> Row:
    items = [
        Item(id=str(i), group=task, image=Path(), question="", answer="a", options=("a", "b"))
        for i in range(len(before))
    ]
    return accuracy_row(
        benchmark, task, items, np.array([[mark == "1" for mark in side] for side in (before, after)])
    )


ROWS = [
    row("cvbench", "count", "0" * 30 + "1" * 30, "1" * 60),
    row("cvbench", ALL, "0" * 30 + "1" * 70, "1" * 99 + "0"),
    row("pope", "random", "1010", "1001"),
    row("pope", ALL, "10101", "10011"),
]


def curve(name: str, role: str) -> Curve:
    return Curve(name, role, list(range(1, 91)), [1 / step for step in range(1, 91)])


@pytest.fixture
def report() -> DemoReport:
    rng = np.random.default_rng(0)
    grids = [rng.integers(0, 256, (4, 4, 3), dtype=np.uint8) for _ in range(3)]
    return DemoReport(
        title="A demo <of> things",
        rows=ROWS,
        items=pack([], ["baseline", "VIRAL"], max_items=10, max_bytes=1000),
        step_time=StepTime(
            pairs=20, ratio=1.02, low=1.01, high=1.03, baseline_seconds=0.1, viral_seconds=0.102
        ),
        cosine=[curve("VIRAL", "viral")],
        lm_loss=[curve("baseline", "baseline"), curve("VIRAL", "viral")],
        layer=2,
        gallery=[
            Panel(
                caption='Is there a "cat" & <dog>?',
                image=rng.integers(0, 256, (30, 40, 3), dtype=np.uint8),
                teacher=grids[0],
                baseline=grids[1],
                viral=grids[2],
            )
        ],
        cache=CacheFacts(teacher="micro", images=1200, num_bytes=12_345_678, codec="int8", cosine=0.99997),
        settings={"seed": "0", "fingerprint": "<abc>"},
    )


def test_the_page_is_well_formed_and_needs_nothing_from_outside(report):
    check_self_contained(render(report))


def test_what_users_write_is_escaped(report):
    html = render(report)
    assert "<title>A demo &lt;of&gt; things</title>" in html
    assert "&lt;abc&gt;" in html
    assert "<dog>" not in html


def test_every_picture_is_a_png_with_a_description(report):
    images = [attributes for attributes in Page(render(report)).all("img") if "src" in attributes]
    assert len(images) == 4
    for attributes in images:
        assert attributes["alt"]
        data = base64.b64decode(attributes["src"].removeprefix("data:image/png;base64,"))
        with Image.open(io.BytesIO(data)) as image:
            assert image.format == "PNG"
            assert image.size == (int(attributes["width"]), int(attributes["height"]))


def test_lossless_is_lossless():
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    data = base64.b64decode(lossless(picture).split(",")[1])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), picture)


def test_the_page_says_what_it_must(report):
    text = Page(render(report)).text
    for part in (
        "This is a micro-world",
        "significantly higher on CV-Bench 2D.",
        "POPE +0.0 points",
        "within noise",
        "One training seed each",
        "4 comparisons are made",
        "A step with alignment took 1.020 times the baseline step",
        "median of 20 alternating pairs",
        "2.0\u202f% more",
        "Its features of 1,200 images came from a cache of 12.3 MB",
        "0.99997",
        "The page holds 0 of 0 items",
    ):
        assert part in text, part


def test_the_step_time_is_worded_by_the_facts(report):
    time = replace(report.step_time, ratio=1.001, low=0.99, high=1.01)
    text = Page(render(replace(report, step_time=time))).text
    assert "The interval includes 1: no measurable cost." in text


def test_verdict():
    better, noise = ROWS[1], ROWS[3]
    worse = row("pope", ALL, "1" * 99 + "0", "0" * 30 + "1" * 70)
    assert (
        demo_verdict([better, noise]) == "Training with alignment scored significantly higher on CV-Bench 2D."
    )
    assert demo_verdict([noise]) == "No significant difference between training with and without alignment."
    assert demo_verdict([better, worse]).endswith("significantly lower on POPE.")
    assert demo_verdict([ROWS[0]]) == demo_verdict([noise])  # tasks of a benchmark do not make the headline


def test_a_headline_stands_for_its_benchmark_and_pays_for_the_others():
    tasks = ROWS[0], replace(ROWS[1], task=HEADLINE, adjusted=0.01), ROWS[3]
    assert demo_verdict(tasks).endswith("significantly higher on CV-Bench 2D.")
    corrected = [replace(row, adjusted=0.2) if row.task == HEADLINE else row for row in tasks]
    assert demo_verdict(corrected).startswith("No significant difference")
    assert evidence(corrected)[0].startswith("CV-Bench 2D +29.0 points")
    assert "(Holm p = 0.200)" in evidence(corrected)[0]


def test_of_several_models_only_significant_differences_are_told():
    better, noise = ROWS[1], ROWS[3]
    assert statements({"a": [better, noise]}) == evidence([better, noise])
    assert statements({"a": [noise], "b": [better, noise], "c": [noise]}) == [f"b, {evidence([better])[0]}"]


def test_markdown_table_is_aligned_and_complete():
    lines = markdown_table(ROWS).splitlines()
    assert len(lines) == 2 + len(ROWS)
    assert len({len(line) for line in lines}) == 1
    assert len({tuple(i for i, c in enumerate(line) if c == "|") for line in lines}) == 1
    assert set(lines[1]) == {"|", "-"}
    assert "| CV-Bench 2D | count" in lines[2]
    assert lines[2].endswith("| < 0.001 |  significant |")
    assert lines[4].endswith("|   1.000 | within noise |")


def test_the_report_is_published_whole(report, tmp_path):
    write_demo_page(report, tmp_path / "new" / "report.html")
    assert (tmp_path / "new/report.html").read_text() == render(report)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report.html"]
