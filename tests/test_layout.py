"""The house: imports go down only, the command answers at once, foreign folders never shadow ours."""

import ast
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
VIRAL = Path(sys.executable).with_name("viral")
PACKAGES = {
    "stores": {"stores"},
    "viral": {"viral"},
    "pipelines": {"pipelines", "viral", "stores"},
    "cli": {"cli", "pipelines", "viral", "stores"},
}
HEAVY = {"torch", "timm", "transformers", "zarr", "peft", "numpy", "scipy"}


def imported(path: Path) -> set[str]:
    """Top-level names of everything a file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(str(node.module).split(".")[0])
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_down_only(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        ours = imported(path) & {*PACKAGES, "bench", "tests"}
        assert ours <= PACKAGES[package], f"{path} imports {ours - PACKAGES[package]}"


def test_stores_know_no_torch():
    for path in (ROOT / "stores").rglob("*.py"):
        assert not imported(path) & {"torch", "timm", "transformers"}, path


def test_files_stay_readable():
    lengths = sorted(
        (len(path.read_text().splitlines()), path)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    )
    assert lengths[-1][0] <= 400, lengths[-1]
    assert lengths[len(lengths) // 2][0] <= 120


def test_help_loads_nothing_heavy_and_answers_within_a_second():
    probe = f"import sys; import cli.main; sys.exit(', '.join(set(sys.modules) & {HEAVY!r}) or 0)"
    run = subprocess.run([sys.executable, "-P", "-c", probe], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr

    def seconds() -> float:
        """Of the processor: what else the machine does is not our business."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([VIRAL, "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(5)) < 1.0


@pytest.mark.parametrize("command", [["--help"], ["cache", "info", "nowhere"]])
def test_decoy_folders_in_the_working_directory_are_ignored(tmp_path: Path, command):
    for package in PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise RuntimeError('decoy imported')")
    run = subprocess.run([VIRAL, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "decoy" not in run.stderr
    assert run.returncode == (0 if command == ["--help"] else 2)
