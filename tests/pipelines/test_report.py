"""The report's page and its Markdown twin: complete, self-contained, safe, and honest about noise."""

import base64
import io
import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipelines.comparison import ALL, Row, accuracy_row
from pipelines.report import (
    CacheFacts,
    DemoReport,
    StepTime,
    markdown_table,
    render,
    verdict,
    write_report,
)
from pipelines.report_parts import Panel, data_uri
from pipelines.svg import (
    CHART_HEIGHT,
    Curve,
    interval,
    line_chart,
    running_mean,
    signed,
    symmetric_range,
    ticks,
)
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
        shared_basis=False,
        cache=CacheFacts(teacher="micro", images=1200, num_bytes=12_345_678, codec="int8", cosine=0.99997),
        settings={"seed": "0", "fingerprint": "<abc>"},
        notes=["Twenty pairs of steps were timed."],
    )


class Page(HTMLParser):
    """Collects tags and checks that they nest."""

    VOID = ("meta", "link", "img")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_is_well_formed_and_needs_nothing_from_outside(report):
    html = render(report)
    page = Page(html)
    assert page.open == []
    for tag, attributes in page.tags:
        assert tag not in ("script", "iframe", "object", "form")
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
    assert not re.search(r"https?://|@import|url\(", html)
    assert any(attributes.get("name") == "viewport" for _, attributes in page.tags)
    assert "prefers-color-scheme: dark" in html


def test_what_users_write_is_escaped(report):
    html = render(report)
    assert "<title>A demo &lt;of&gt; things</title>" in html
    assert "&lt;abc&gt;" in html
    assert "<dog>" not in html


def test_anchors_lead_somewhere(report):
    page = Page(render(report))
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = {attributes["href"] for tag, attributes in page.tags if tag == "a"}
    assert links == {f"#{id_}" for id_ in ids}


def test_every_picture_is_a_png_with_a_description(report):
    images = [attributes for tag, attributes in Page(render(report)).tags if tag == "img"]
    assert len(images) == 4
    for attributes in images:
        assert attributes["alt"]
        data = base64.b64decode(attributes["src"].removeprefix("data:image/png;base64,"))
        with Image.open(io.BytesIO(data)) as image:
            assert image.format == "PNG"
            assert image.size == (int(attributes["width"]), int(attributes["height"]))


def test_data_uri_is_lossless():
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    data = base64.b64decode(data_uri(picture).split(",")[1])
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
        "Every picture has a basis of its own",
        "Twenty pairs of steps were timed.",
    ):
        assert part in text, part


def test_step_time_and_basis_are_worded_by_the_facts(report):
    time = replace(report.step_time, ratio=1.001, low=0.99, high=1.01)
    text = Page(render(replace(report, step_time=time, shared_basis=True))).text
    assert "The interval includes 1: no measurable cost." in text
    assert "all pictures share one basis" in text


def test_verdict():
    better, noise = ROWS[1], ROWS[3]
    worse = row("pope", ALL, "1" * 99 + "0", "0" * 30 + "1" * 70)
    assert verdict([better, noise]) == "Training with alignment scored significantly higher on CV-Bench 2D."
    assert verdict([noise]) == "No significant difference between training with and without alignment."
    assert verdict([better, worse]).endswith("significantly lower on POPE.")
    assert verdict([ROWS[0]]) == verdict([noise])  # tasks of a benchmark do not make the headline


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
    write_report(report, tmp_path / "new" / "report.html")
    assert (tmp_path / "new/report.html").read_text() == render(report)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report.html"]


def test_the_style_is_packaged():
    assert "prefers-color-scheme" in (files("pipelines") / "report.css").read_text()


def numbers(pattern: str, svg: str) -> list[float]:
    return [float(value) for value in re.findall(pattern, svg)]


@given(st.floats(-50, 50), st.floats(0, 20), st.floats(0, 20))
def test_intervals_share_one_zero_and_stay_inside(value, below, above):
    span = symmetric_range([-60.0, 12.0, value - below, value + above])
    svg = interval(value, value - below, value + above, span, solid=False, label="x")
    assert numbers(r'class="zero" x1="([\d.]+)"', svg) == [120.0]
    (left,) = numbers(r'class="whisker" x1="([\d.]+)"', svg)
    (right,) = numbers(r'class="whisker" x1="[\d.]+" x2="([\d.]+)"', svg)
    (point,) = numbers(r'cx="([\d.]+)"', svg)
    assert 0 <= left <= point <= right <= 240
    if abs(value) > span[1] / 100:
        assert (point > 120) == (value > 0)


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_ticks_are_round_few_and_inside(low, width):
    marks = ticks(low, low + width)
    assert 2 <= len(marks) <= 9
    assert all(low - 1e-6 * width <= mark <= low + width + 1e-6 * width for mark in marks)
    steps = {f"{second - first:.3e}" for first, second in itertools.pairwise(marks)}
    assert all(step[:5] in ("1.000", "2.000", "5.000") for step in steps)


def test_labels_of_curves_that_end_together_do_not_overlap():
    svg = line_chart([curve("baseline", "baseline"), curve("VIRAL", "viral")], "loss")
    places = sorted(numbers(r'class="name \w+" x="[\d.]+" y="([\d.]+)"', svg))
    assert places[1] - places[0] >= 14
    assert places[1] <= CHART_HEIGHT


def test_curves_stay_inside_the_chart():
    wild = Curve("w", "viral", list(range(100)), [1.0] * 50 + [1e6] + [1.0] * 49)
    svg = line_chart([wild], "spike")
    heights = [
        float(pair.split(",")[1])
        for points in re.findall(r'points="([^"]+)"', svg)
        for pair in points.split()
    ]
    assert min(heights) >= 0
    assert max(heights) <= CHART_HEIGHT


def test_running_mean_is_centred():
    line = [float(value) for value in range(300)]
    assert running_mean(line) == pytest.approx(line)
    assert running_mean([1.0, 5.0]) == [1.0, 5.0]


def test_signed():
    assert [signed(v, 1) for v in (1.24, -1.24, 0.0, -0.01)] == ["+1.2", "\u22121.2", "0.0", "0.0"]
