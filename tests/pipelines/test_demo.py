"""The demo in small: every stage through the real code, twice, and what it must not change."""

from pathlib import Path

import pytest
from transformers import LlavaForConditionalGeneration

from pipelines import demo
from pipelines.training.folder import read_metrics
from stores import load_manifest
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
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert first.table.count("\n") >= 6
    assert len([line for line in said if line.startswith("[")]) == 7
    # Acceptance check 1: the teacher that made the cache is the one shipped, before and after training.
    assert load_manifest(tmp_path / "demo/cache").spec.fingerprint == before
    assert load_teacher(get_teacher("micro")).fingerprint() == before
    runs = {kind: read_metrics(tmp_path / "demo/runs" / kind) for kind in ("baseline", "viral")}
    assert [len(metrics) for metrics in runs.values()] == [4, 4]
    assert runs["viral"][0]["loss/lm"] == pytest.approx(runs["baseline"][0]["loss/lm"])
    LlavaForConditionalGeneration.from_pretrained(tmp_path / "demo/models/viral")
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
