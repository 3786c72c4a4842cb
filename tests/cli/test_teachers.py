"""`viral teachers`: the table and its JSON."""

import json

import pytest
from typer.testing import CliRunner

from cli.main import app
from viral.teachers.registry import TEACHERS


@pytest.fixture
def viral():
    def run(*arguments):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        return result.output

    return run


def test_the_table_names_every_teacher_and_where_its_weights_are(viral):
    lines = viral("teachers").splitlines()
    assert lines[0].split()[:4] == ["teacher", "dim", "grid", "GFLOPs"]
    text = "\n".join(lines)
    for name, spec in TEACHERS.items():
        assert name in text
        assert spec.weights_file or spec.hub in text
    (row,) = [line for line in lines if line.startswith("dinov2-b,")]
    assert row.split()[:7] == ["dinov2-b,", "dinov2", "768", "24x24", "110.8", "885", "kB"]


def test_json_holds_numbers(viral):
    rows = {row["name"]: row for row in json.loads(viral("teachers", "--json"))}
    assert rows.keys() == {spec.name for spec in TEACHERS.values()}
    assert rows["sam-b"]["grid"] == [24, 24]
    assert rows["sam-b"]["bytes_by_codec"]["fp16"] == 24 * 24 * 256 * 2
    assert rows["micro"]["packaged"]
    assert rows["dinov2-b"]["aliases"] == ["dinov2"]
