"""`viral report` from folder to page: complete, self-contained, and clear about what it cannot show."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from pipelines.report.page import SCRIPTS
from pipelines.report.write import write_report
from tests.pipelines.report.folders import right, write_analysis, write_evaluation, write_run, write_world
from tests.pipelines.report.html import Page, check_self_contained
from viral.errors import ConfigError, DataError

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\0\u202e\"'&<!--]]>"


def page_of(folders: list, data: Path, tmp_path: Path, **options: object) -> Page:
    out = tmp_path / "new" / "report.html"
    made = write_report(folders, out, data, **options)
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]
    assert made.num_bytes == out.stat().st_size
    return check_self_contained(out.read_text(encoding="utf-8"))


@pytest.fixture
def copied(results, world, tmp_path: Path) -> Path:
    """Results that a test may damage."""
    return shutil.copytree(results, tmp_path / "results")


def test_all_kinds_of_folders_on_one_page(results, world, tmp_path: Path):
    folders = [
        f"{label}={results / kind / name}"
        for kind in ("", "runs")
        for label, name in (("base", "baseline"), ("VIRAL", "viral"))
    ]
    page = page_of([*folders, results / "analysis"], world, tmp_path, title="A title <b>")
    sections = [tag["id"] for tag in page.all("section")]
    assert sections == ["accuracy", "training", "analyses", "items", "configuration"]
    for part in (
        "A title <b>",
        "VIRAL scored significantly higher on POPE.",
        "Profile clean: pictures padded to a square",
        "VIRAL against base",
        "8 of 24 unread",
        "within noise",
        "The page holds 96 of 96 items, among them",
        "not the published benchmark",
        "align/cosine: mean cosine",
        "Waiting for data",
        "Title of pca",
        "Figure 1 of pca",
        "align.objective",
        "ab" * 32,
    ):
        assert part in page.text, part
    charts = [tag for tag in page.all("svg") if tag.get("class") == "chart"]
    assert len(charts) == 4
    assert "VIRAL ends at" in charts[0]["aria-label"]
    assert len([tag for tag in page.all("img") if tag.get("src")]) == 2


def test_one_evaluation_alone_has_its_tasks_and_nothing_to_compare(results, world, tmp_path: Path):
    page = page_of([results / "baseline"], world, tmp_path)
    assert "baseline alone" in page.text
    assert "against" not in page.text.replace("baseline against ", "")  # the label of a hidden control
    assert [tag["value"] for tag in page.all("input") if tag.get("type") == "radio"] == [
        "all",
        "right",
        "wrong",
        "unread",
    ]
    assert "adversarial" in page.text


def test_without_evaluations_no_data_are_asked_for(results, tmp_path: Path):
    page = page_of([results / "runs/viral", results / "analysis"], tmp_path / "nowhere", tmp_path)
    assert [tag["id"] for tag in page.all("section")] == ["training", "analyses", "configuration"]


def test_three_models_each_against_the_first_and_benchmarks_only_one_has(results, world, tmp_path: Path):
    page = page_of([results / "baseline", results / "viral", results / "perfect"], world, tmp_path)
    assert "viral against baseline" in page.text
    assert "perfect against baseline" in page.text
    assert "POPE: answered by only one of baseline and perfect" in page.text
    assert [tag["value"] for tag in page.all("option")] == ["1", "2", "", ""]


def test_nothing_that_was_written_elsewhere_becomes_markup(world, tmp_path: Path):
    write_evaluation(tmp_path / "a", world, lambda index, item: HOSTILE)
    write_evaluation(tmp_path / "b", world, right)
    write_run(tmp_path / "run", "micro_viral")
    figures = [{"file": "pca_0.png", "caption": HOSTILE}]
    write_analysis(tmp_path / "c", "pca", title=HOSTILE, settings={HOSTILE: HOSTILE}, figures=figures)
    label = HOSTILE.replace("=", "").replace("\0", "")
    folders = [f"{label}={tmp_path / 'a'}", tmp_path / "b", f"{label}={tmp_path / 'run'}", tmp_path / "c"]
    page = page_of(folders, world, tmp_path, title=HOSTILE)
    assert len(page.all("script")) == 2
    assert all("onerror" not in tag and tag.get("src", "data:") != "x" for tag in page.all("img"))
    html = (tmp_path / "new/report.html").read_bytes()
    assert b"\0" not in html
    assert "\u202e".encode() not in html
    assert "⟨U+202E⟩".encode() in html


def test_figures_that_are_gone_are_counted_and_a_drawing_is_shown_once(tmp_path: Path):
    folder = write_analysis(tmp_path / "a", "cknna")
    (folder / "cknna_0.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>")
    value = json.loads((folder / "cknna.json").read_text())
    value["figures"] += [{"file": "cknna_0.svg"}, {"file": "gone.png", "caption": "x"}]
    (folder / "cknna.json").write_text(json.dumps(value))
    page = page_of([folder], tmp_path, tmp_path)
    sources = [tag["src"] for tag in page.all("img") if tag.get("src")]
    assert [source.split(";")[0] for source in sources] == ["data:image/svg+xml", "data:image/webp"]
    assert "1 figure missing or unreadable: gone.png." in page.text


@pytest.mark.parametrize(
    "entry", ["x.png", {"caption": "x"}, {"file": "../x.png"}, {"file": "x.html"}, {"file": 3}]
)
def test_figures_are_pictures_in_the_same_folder(entry, tmp_path: Path):
    folder = write_analysis(tmp_path / "a", "pca", figures=[entry])
    with pytest.raises(DataError, match="lists a figure"):
        write_report([folder], tmp_path / "r.html", tmp_path)


def test_runs_without_a_finished_step_or_with_an_unfinished_line(tmp_path: Path):
    fresh, live = (
        write_run(tmp_path / "fresh", "micro_viral", 0),
        write_run(tmp_path / "live", "micro_viral", 5),
    )
    with (live / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    page = page_of([fresh, live], tmp_path, tmp_path)
    assert "No finished step yet: fresh." in page.text
    (fresh / "metrics.jsonl").unlink()
    assert "No finished step yet: fresh." in page_of([fresh], tmp_path, tmp_path).text
    (live / "metrics.jsonl").write_text('{"step": 1}\n{"st\n')
    with pytest.raises(ConfigError, match="line 2 is damaged"):
        write_report([live], tmp_path / "r.html", tmp_path)
    (fresh / "inputs.json").write_text("{")
    with pytest.raises(ConfigError, match=r"inputs\.json is damaged"):
        write_report([fresh], tmp_path / "r.html", tmp_path)


def test_profiles_and_data_must_be_the_same(results, world, tmp_path: Path):
    other = write_evaluation(tmp_path / "paper", world, right, profile="paper")
    with pytest.raises(
        ConfigError, match="profile clean, paper under paper; only differences inside one profile"
    ):
        write_report([results / "baseline", other], tmp_path / "r.html", world)
    with (other / "cvbench/settings.json").open("r+") as file:
        text = file.read().replace('"paper"', '"clean"')
        file.seek(0)
        file.write(text)
    with pytest.raises(ConfigError, match="mixes the profiles"):
        write_report([other], tmp_path / "r.html", world)
    elsewhere = write_world(tmp_path / "elsewhere")
    asked = elsewhere / "cvbench/test_2d.jsonl"
    asked.write_text(asked.read_text().replace("How many", "Just how many"))
    with pytest.raises(DataError, match="answers cvbench questions other than those"):
        write_report([results / "baseline"], tmp_path / "r.html", elsewhere)
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_text(path.read_text()[:-20]), "damaged or cut short"),
        (lambda path: path.write_text(path.read_text().split("\n")[0] + "\n"), "have no reply"),
        (lambda path: path.write_text(""), "is empty"),
        (lambda path: path.unlink(), "replies are gone"),
        (lambda path: path.with_name("settings.json").write_text("["), "settings.json is damaged"),
        (lambda path: (path.parent.parent / "scores.json").write_text("{"), "scores.json is damaged"),
    ],
)
def test_damaged_evaluations_are_refused_in_one_line(copied, world, damage, message):
    damage(copied / "viral/pope/replies.jsonl")
    arguments = ["report", str(copied / "baseline"), str(copied / "viral"), "--data", str(world)]
    answer = CliRunner().invoke(app, [*arguments, "--out", str(copied / "r.html")])
    assert isinstance(answer.exception, DataError)
    assert message in str(answer.exception)
    assert "\n" not in str(answer.exception)
    assert not (copied / "r.html").exists()


@pytest.mark.parametrize(
    ("out", "items"), [("report", 5), ("report.md", 5), ("folder.html", 5), ("r.html", -1)]
)
def test_only_a_page_is_written(results, tmp_path: Path, out, items):
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(ConfigError, match=r"expected the name of an \.html file"):
        write_report([results / "analysis"], tmp_path / out, tmp_path, max_items=items)


def test_the_command_says_what_it_wrote(results, world, tmp_path: Path):
    arguments = ["report", f"A={results / 'baseline'}", str(results / "viral"), "--max-items", "30"]
    answer = CliRunner().invoke(app, [*arguments, "--data", str(world), "--out", str(tmp_path / "r.html")])
    assert answer.exit_code == 0, answer.output
    assert "2 evaluations; 30 of 96 items" in answer.output
    assert f"wrote {tmp_path / 'r.html'} (" in answer.output


def test_the_style_and_the_scripts_are_packaged():
    import tomllib

    import pipelines.report

    folder = Path(pipelines.report.__file__).parent
    listed = tomllib.loads((folder.parents[1] / "pyproject.toml").read_text())["tool"]["setuptools"][
        "package-data"
    ]
    packaged = {path.name for pattern in listed["pipelines.report"] for path in folder.glob(pattern)}
    assert packaged == {"page.css", *SCRIPTS}
