"""`viral doctor` on this machine, and on one that lacks something."""

import json

import pytest
from typer.testing import CliRunner

from cli.main import app
from pipelines import doctor


@pytest.fixture
def findings(tmp_path, monkeypatch):
    """Run it in an empty folder: (exit code, findings by topic)."""
    monkeypatch.chdir(tmp_path)

    def run():
        result = CliRunner().invoke(app, ["doctor", "--json"])
        return result.exit_code, {row["topic"]: row for row in json.loads(result.stdout)}

    return run


def test_a_whole_installation_has_no_problem(findings):
    code, rows = findings()
    assert (code, [row for row in rows.values() if row["is_problem"]]) == (0, [])
    assert rows["torch"]["text"]
    assert "micro" in rows["teacher weights"]["text"]
    assert "is not here; give its place with --data" in rows["annotations"]["text"]
    assert {"viral[ray]", "viral[remote]", "viral[diffusers]", "disk", "cpu"} <= rows.keys()
    plain = CliRunner().invoke(app, ["doctor"])
    assert plain.exit_code == 0
    assert len(plain.stdout.splitlines()) == len(rows)


def test_what_is_missing_too_old_or_broken_is_a_problem_and_says_what_to_install(findings, monkeypatch):
    declared = [
        "zarr>=1000.0",
        "no-such-package>=1.0",
        'ray>=1000; extra == "ray"',
        'x>=1; extra == "remote"',
    ]
    monkeypatch.setattr(doctor, "requires", lambda name: [*declared, 'diffusers; extra == "diffusers"'])
    monkeypatch.setattr(doctor, "IMPORTED", ("no_such_module",))
    code, rows = findings()
    assert code == 1
    assert rows["zarr"]["text"].endswith("needed >=1000.0: pip install 'zarr>=1000.0'")
    assert rows["no-such-package"]["text"] == "missing; pip install 'no-such-package>=1.0'"
    assert "does not load: No module named 'no_such_module'" in rows["no_such_module"]["text"]
    assert not rows["viral[ray]"]["is_problem"], "an extra is a choice"
    assert "unknown to the installed package" in rows["viral[log]"]["text"], "declared after it was installed"
    assert "only for --engine ray: pip install 'viral[ray]'" in rows["viral[ray]"]["text"]
