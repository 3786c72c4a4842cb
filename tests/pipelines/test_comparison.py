"""`viral compare` and what it stands on: rows from stored replies, seeds, refusals, the words for noise."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from pipelines.comparison import ALL, HEADLINE, compare_replies, compare_runs
from pipelines.comparison_table import comparison_table, plain_rows
from tests.benchmarks import worlds
from viral.benchmarks import get_benchmark, load_items
from viral.errors import ConfigError, DataError, UnknownNameError

NAMES = ["cvbench", "pope"]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    return worlds.pope(worlds.cvbench(folder))


def folder(
    path: Path, data: Path, wrong: int, *, weights: str = "", profile: str = "paper", names=NAMES
) -> Path:
    """An output folder of `viral eval` with `wrong` wrong replies to each benchmark."""
    for name in names:
        items = load_items(get_benchmark(name), data)
        rows = [
            {"id": item.id, "reply": "?" if 3 * index % len(items) < wrong else item.answer}
            for index, item in enumerate(items)
        ]
        worlds.write_lines(path / name / "replies.jsonl", rows)
        settings = {"benchmark": name, "profile": profile, "weights": weights or str(path)}
        (path / name / "settings.json").write_text(json.dumps(settings))
    return path


def test_rows_of_two_models(data, tmp_path):
    rows = compare_runs([folder(tmp_path / "a", data, 6)], [folder(tmp_path / "b", data, 0)], data)
    assert [(row.benchmark, row.task) for row in rows] == [
        *(("cvbench", task) for task in (HEADLINE, "count", "relation", ALL)),
        *(("pope", task) for task in (HEADLINE, "random", "popular", "adversarial", ALL)),
    ]
    for row in rows:
        assert row.seeds == 1
        assert row.delta == pytest.approx(row.other.value - row.baseline.value)
        assert row.interval[0] - 1e-9 <= row.delta <= row.interval[1] + 1e-9
        assert (row.adjusted is None) == (row.task != HEADLINE)
        assert row.test == ("bootstrap" if row.task == HEADLINE else "McNemar")
    first = rows[0]
    assert (first.baseline.value, first.other.value) == (40.0, 100.0)
    assert first.baseline.interval[0] < 40.0 < first.baseline.interval[1]
    assert first.verdict == "significant"
    assert first.adjusted >= first.p_value


def test_a_model_against_itself_is_noise(data, tmp_path):
    same = folder(tmp_path / "a", data, 3)
    for row in compare_runs([same], [same], data):
        assert (row.delta, row.interval, row.p_value) == (0.0, (0.0, 0.0), 1.0)
        assert row.verdict == "within noise"


def test_a_benchmark_is_compared_once_in_whatever_spelling(data, tmp_path):
    sides = [[folder(tmp_path / name, data, wrong)] for name, wrong in (("a", 6), ("b", 0))]
    spelt = compare_runs(*sides, data, ["POPE", "pope", "CV-Bench 2D"])
    assert spelt == compare_runs(*sides, data, ["pope", "cvbench"])


def test_a_single_changed_answer_is_noise(data, tmp_path):
    rows = compare_replies(
        "cvbench", data, *(folder(tmp_path / str(n), data, n) / "cvbench/replies.jsonl" for n in (1, 0))
    )
    overall = rows[-1]
    assert (overall.delta, overall.p_value) == (10.0, 1.0)
    assert overall.statement("CV") == "CV +10.0 points [+0.0, +30.0], p = 1.000, within noise"


def test_seeds_are_averaged_and_their_spread_widens_the_interval(data, tmp_path):
    baselines = [folder(tmp_path / f"a{n}", data, n) for n in (4, 5, 6)]
    others = [folder(tmp_path / f"b{n}", data, n) for n in (0, 1, 5)]
    rows = compare_runs(baselines, others, data, ["cvbench"])
    overall = rows[-1]
    assert (overall.seeds, overall.test) == (3, "bootstrap")
    assert overall.baseline.value == pytest.approx(50.0)
    assert overall.delta == pytest.approx(30.0)
    single = compare_runs(baselines[:1], others[:1], data, ["cvbench"])[-1]
    assert overall.interval[1] - overall.interval[0] > single.interval[1] - single.interval[0]
    assert "3 training seeds" in comparison_table(rows)
    assert "training noise is not in them" in comparison_table([single])


def test_the_order_of_lines_changes_nothing(data, tmp_path):
    first, second = folder(tmp_path / "a", data, 4), folder(tmp_path / "b", data, 1)
    before = compare_runs([first], [second], data)
    for path in tmp_path.glob("*/*/replies.jsonl"):
        path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    assert compare_runs([first], [second], data) == before


def test_another_profile_scores_all_by_its_rule(data, tmp_path):
    first, second = folder(tmp_path / "a", data, 4), folder(tmp_path / "b", data, 1, profile="clean")
    with pytest.raises(ConfigError, match="under the profiles clean and paper"):
        compare_runs([first], [second], data)
    rows = compare_runs([first], [second], data, ["pope"], profile="clean")
    assert rows[0].task == HEADLINE


@pytest.mark.parametrize(
    ("prepare", "error", "message"),
    [
        (lambda d, t: ([], []), ConfigError, "0 baselines and 0 others"),
        (lambda d, t: ([folder(t / "a", d, 1)], []), ConfigError, "1 baselines and 0 others; give as many"),
        (lambda d, t: ([t / "none"], [t / "none"]), DataError, "No folder"),
        (lambda d, t: ([t], [t]), ConfigError, "No benchmark was answered in all of"),
        (
            lambda d, t: (
                [folder(t / "a", d, 1, weights="w"), folder(t / "b", d, 2, weights="w")],
                [folder(t / "c", d, 1), folder(t / "d", d, 2)],
            ),
            ConfigError,
            "made by the same weights; they are not two seeds",
        ),
    ],
)
def test_what_cannot_be_compared_is_said_in_a_line(data, tmp_path, prepare, error, message):
    baselines, others = prepare(data, tmp_path)
    with pytest.raises(error) as caught:
        compare_runs(baselines, others, data)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_incomplete_replies_and_unknown_names_are_refused(data, tmp_path):
    first, second = folder(tmp_path / "a", data, 4), folder(tmp_path / "b", data, 1)
    path = second / "pope/replies.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(DataError, match="1 of 14 items of POPE have no reply"):
        compare_runs([first], [second], data)
    with pytest.raises(UnknownNameError, match="sugarcrepe"):
        compare_runs([first], [second], data, ["sugarcrepe"])


def test_the_command_prints_a_table_or_json(data, tmp_path):
    first, second = folder(tmp_path / "a", data, 6), folder(tmp_path / "b", data, 0)
    command = ["compare", "--baseline", str(first), "--other", str(second), "--data", str(data)]
    told = CliRunner().invoke(app, [*command, "--benchmarks", "cvbench"])
    assert told.exit_code == 0, told.output
    lines = told.output.splitlines()
    assert re.split(r"  +", lines[0]) == [
        *("benchmark", "score", "baseline", "other", "difference", "95 % interval", "p", "verdict")
    ]
    assert lines[1].startswith("CV-Bench 2D  headline")
    assert lines[1].endswith("significant")
    assert "adjusted for 1 comparisons (Holm): CV-Bench 2D p = 0.002." in told.output
    rows = json.loads(CliRunner().invoke(app, [*command, "--json"]).output)
    assert rows == json.loads(json.dumps(plain_rows(compare_runs([first], [second], data))))
    assert rows[0]["baseline"]["value"] == 40.0
    assert {row["verdict"] for row in rows} <= {"significant", "within noise"}
