"""An annotation file is read through once; whatever changes it makes it be read again."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from pipelines import annotation_cache
from pipelines.annotation_cache import open_annotations
from viral.data.index import scan


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Files that were really read through; the cache lies in `tmp_path/kept`."""
    seen: list[Path] = []

    def counted(path: Path):
        seen.append(path)
        return scan(path)

    monkeypatch.setattr(annotation_cache, "scan", counted)
    monkeypatch.setenv("VIRAL_ANNOTATION_CACHE", str(tmp_path / "kept"))
    return seen


def write(path: Path, *answers: str, settled: bool = True) -> Path:
    turns = [[{"from": "human", "value": "<image>é"}, {"from": "gpt", "value": text}] for text in answers]
    path.write_text(
        json.dumps([{"id": "1", "image": f"{t[1]['value']}.png", "conversations": t} for t in turns])
    )
    if settled:
        wait_until_settled(path)
    return path


def wait_until_settled(path: Path) -> None:
    """ctime cannot be set back, so a file has to grow old."""
    while time.time_ns() - path.stat().st_ctime_ns <= 2_100_000_000:
        time.sleep(0.1)


def test_the_second_run_knows_and_gives_the_same(scans, tmp_path: Path):
    path = write(tmp_path / "a.json", "x", "y")
    first, second = open_annotations([path]), open_annotations([path])
    assert scans == [path]
    assert list(first) == list(second)
    assert first.image_names() == second.image_names() == {"x.png", "y.png"}
    assert first.files[0].sha256 == second.files[0].sha256
    for name in annotation_cache.ARRAYS:
        ours, kept = getattr(first.files[0], name), getattr(second.files[0], name)
        assert ours.dtype == kept.dtype
        assert np.array_equal(ours, kept)


def test_a_change_that_keeps_size_and_mtime_is_noticed(scans, tmp_path: Path):
    path = write(tmp_path / "a.json", "x")
    open_annotations([path])
    before = path.stat()
    write(path, "z", settled=False)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert open_annotations([path]).image_names() == {"z.png"}
    assert len(scans) == 2


def test_a_file_that_was_just_written_is_not_remembered(scans, tmp_path: Path):
    path = write(tmp_path / "a.json", "x", settled=False)
    open_annotations([path])
    open_annotations([path])
    assert len(scans) == 2


def test_damage_and_other_versions_are_read_anew(scans, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write(tmp_path / "a.json", "x")
    open_annotations([path])
    (kept,) = (tmp_path / "kept").iterdir()
    sound = kept.read_bytes()
    for damaged in (b"", sound[:100], b"no zip", sound[:200] + b"\xff\xff" + sound[202:]):
        kept.write_bytes(damaged)
        assert len(open_annotations([path])) == 1
        assert kept.read_bytes() == sound
    monkeypatch.setattr(annotation_cache, "VERSION", 2)
    open_annotations([path])
    assert len(scans) == 6


def test_a_folder_that_cannot_be_written_does_without(scans, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write(tmp_path / "a.json", "x")
    (tmp_path / "file").touch()
    monkeypatch.setenv("VIRAL_ANNOTATION_CACHE", str(tmp_path / "file" / "folder"))
    assert len(open_annotations([path, path])) == 2
    assert len(scans) == 2
