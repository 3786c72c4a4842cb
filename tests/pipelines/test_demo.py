"""The demo in small: every stage through the real code, twice, and what it must not change."""

from pathlib import Path

import pytest
from transformers import LlavaForConditionalGeneration

from pipelines import demo
from pipelines.report.write import write_report
from pipelines.training.folder import read_metrics
from stores import load_manifest
from tests.pipelines.report.html import check_self_contained
from viral.errors import ConfigError
from viral.microworld.benchmarks import write_benchmarks
from viral.teachers import get_teacher
from viral.teachers.load import load_teacher


@pytest.fixture
def small(monkeypatch):
    """A demo of four steps and a few questions."""
    monkeypatch.setattr(demo, "NUM_SAMPLES", 128)
    monkeypatch.setattr(demo, "TIMED_PAIRS", 1)
    sizes = {"num_count": 6, "num_relation": 6, "num_pairs": 2, "num_pope_images": 2, "num_coco": 2}
    sizes |= {"num_sets": 1, "num_per_category": 1, "num_mme_images": 1}
    monkeypatch.setattr(demo, "write_benchmarks", lambda out: write_benchmarks(out, **sizes))


def test_demo_runs_resumes_and_leaves_the_teacher_alone(small, tmp_path: Path):
    before = load_teacher(get_teacher("micro")).fingerprint()
    said: list[str] = []
    first = demo.run_demo(tmp_path / "demo", said.append)
    page = first.report.read_text()
    assert "<table" in page
    assert "micro-world" in page
    assert first.table.count("\n") >= 6
    assert len([line for line in said if line.startswith("[")]) == 7
    # Acceptance check 1: the teacher that made the cache is the one shipped, before and after training.
    assert load_manifest(tmp_path / "demo/cache").spec.fingerprint == before
    assert load_teacher(get_teacher("micro")).fingerprint() == before
    runs = {kind: read_metrics(tmp_path / "demo/runs" / kind) for kind in ("baseline", "viral")}
    assert [len(metrics) for metrics in runs.values()] == [4, 4]
    assert runs["viral"][0]["loss/lm"] == pytest.approx(runs["baseline"][0]["loss/lm"])
    LlavaForConditionalGeneration.from_pretrained(tmp_path / "demo/models/viral")
    # The page, and a report about the same folders: what the commands leave is what a report reads.
    assert "The page holds 48 of 48 items" in check_self_contained(page).text
    parts = [
        tmp_path / "demo" / part for part in ("results/baseline", "results/viral", "runs/viral", "cache")
    ]
    written = write_report(parts, tmp_path / "report.html", tmp_path / "demo/benchmarks")
    assert written.summary == "2 evaluations, 1 run, 1 cache"
    text = check_self_contained(written.path.read_text()).text
    for digest in (
        before["weights_sha256"],
        load_manifest(tmp_path / "demo/cache").spec.codec,
        "align/cosine",
    ):
        assert digest in text
    # A second call finds everything done, and says the same.
    assert demo.run_demo(tmp_path / "demo", said.append).table == first.table


def test_demo_leaves_foreign_folders_alone(small, tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ConfigError, match="holds no demo of ours"):
        demo.run_demo(tmp_path, print)
    (tmp_path / "thesis.tex").unlink()
    (tmp_path / "demo.json").write_text("{}")
    with pytest.raises(ConfigError, match="another version"):
        demo.run_demo(tmp_path, print)
