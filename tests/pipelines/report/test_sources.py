"""Folders are recognised by what lies in them; anything else is refused in one line."""

import json
from pathlib import Path

import pytest

from pipelines.report.sources import recognise
from tests.pipelines.report.folders import write_analysis
from viral.errors import ConfigError


def test_each_folder_is_what_lies_in_it(results):
    found = recognise(
        [results / "baseline", f"VIRAL={results / 'viral'}", results / "runs/viral", results / "analysis"]
    )
    assert found == {
        "evaluation": {"baseline": results / "baseline", "VIRAL": results / "viral"},
        "run": {"viral": results / "runs/viral"},
        "analysis": {"analysis": results / "analysis"},
        "cache": {},
    }


def test_a_folder_may_be_two_things_and_bear_the_sign_of_labels(tmp_path: Path):
    both = tmp_path / "a=b"
    write_analysis(both, "pca")
    (both / "config.yaml").write_text("name: x\n")
    assert recognise([both]) | {"evaluation": {}, "cache": {}} == recognise([str(both)])
    assert recognise([both])["analysis"] == recognise([both])["run"] == {"a=b": both}


def test_the_same_label_may_name_one_folder_of_each_kind(results):
    found = recognise([f"x={results / 'viral'}", f"x={results / 'runs/viral'}"])
    assert found["evaluation"].keys() == found["run"].keys() == {"x"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "needs a folder"),
        (["{}/nowhere"], "No folder"),
        (["label={}/nowhere"], "No folder"),
        (["label="], "No folder ''"),
        (["{}/empty"], "nothing a report can show"),
        (["{}/file"], "No folder"),
        (["{}/other"], "nothing a report can show"),
        (["a={}/run", "a={}/run2"], "both called 'a'"),
    ],
)
def test_what_is_no_source_is_refused(tmp_path: Path, arguments, message):
    for name in ("empty", "other", "run", "run2"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "other/x.json").write_text("{")
    (tmp_path / "other/y.json").write_text(json.dumps({"figures": []}))
    for name in ("run", "run2"):
        (tmp_path / name / "config.yaml").write_text("")
    with pytest.raises(ConfigError, match=message):
        recognise([argument.format(tmp_path) for argument in arguments])
