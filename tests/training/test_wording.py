"""Each profile asks a model in the right words, which the record beside the replies names."""

import json
from pathlib import Path

import pytest

from pipelines.evaluate import generate_replies
from pipelines.training.config import with_overrides
from pipelines.training.export import export_run
from pipelines.training.loop import train
from pipelines.wording import asked_template
from tests import families
from tests.benchmarks import worlds
from viral.errors import UnknownNameError, WeightsError


@pytest.fixture(scope="module")
def qwen(config, tmp_path_factory) -> Path:
    """A run of a Qwen with the micro-world's smallest of everything."""
    root = tmp_path_factory.mktemp("qwen")
    parts = families.with_parts(config, root, "qwen2", "clip")
    train(
        with_overrides(parts, {"align.objective": "none", "optim.max_steps": 1}),
        cache=None,
        output=root / "run",
    )
    return root / "run"


def test_a_run_its_checkpoint_and_its_export_are_asked_as_trained(qwen, tmp_path: Path):
    exported = export_run(qwen, tmp_path / "model")
    for model in (qwen, qwen / "checkpoints" / "step-000001", exported):
        assert asked_template(str(model), "clean") == "qwen_2"
        assert asked_template(str(model), "paper") == "qwen_2"  # the release has no other for it
    (exported / "viral.json").write_text("{")
    with pytest.raises(WeightsError, match=r"viral.json is damaged .*export the run again"):
        asked_template(str(exported), "clean")
    (exported / "viral.json").unlink()
    assert asked_template(str(exported), "clean") == "qwen_2"


def test_training_in_other_words_counts_and_captions_do_not(qwen, tmp_path: Path):
    exported = export_run(qwen, tmp_path / "model")
    origin = json.loads((exported / "viral.json").read_text())
    for template, asked in (("vicuna_v1", "vicuna_v1"), ("plain", "qwen_2")):
        origin["config"]["data"]["template"] = template
        (exported / "viral.json").write_text(json.dumps(origin))
        assert asked_template(str(exported), "clean") == asked


def test_a_foreign_llava_is_asked_like_its_family(llava_dir):
    assert asked_template(str(llava_dir), "clean") == "vicuna_v1"
    assert asked_template(str(llava_dir), "paper") == "llava_v1"
    with pytest.raises(UnknownNameError, match="evaluation profile"):
        asked_template(str(llava_dir), "nice")
    with pytest.raises(WeightsError, match="/nowhere"):
        asked_template("/nowhere", "clean")


def test_the_record_names_the_template_that_was_used(qwen, tmp_path: Path):
    data = worlds.cvbench(tmp_path / "data")
    generate_replies(str(qwen), ["cvbench"], data, tmp_path / "out", profile="clean", device="cpu")
    settings = json.loads((tmp_path / "out" / "cvbench" / "settings.json").read_text())
    assert (settings["template"], settings["profile"]) == ("qwen_2", "clean")
