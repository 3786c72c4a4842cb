"""Publish or nothing, and the one spelling of JSON."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.canonical import canonical_json, read_sealed, seal
from stores.errors import DamagedStoreError
from stores.layout import is_temporary, store_files
from stores.publish import publish, remove_partials, write_bytes, write_json
from tests.stores.builder import build, make_plan

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_success_gives_the_name_and_leaves_nothing_else(tmp_path):
    with publish(tmp_path / "new" / "folder" / "file") as partial:
        partial.write_text("whole")
        assert not (tmp_path / "new" / "folder" / "file").exists()
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["file"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_keeps_the_old_file(error, tmp_path):
    write_bytes(tmp_path / "file", b"old")

    def fail():
        with publish(tmp_path / "file") as partial:
            partial.write_bytes(b"half of the n")
            raise error

    with pytest.raises(error):
        fail()
    assert (tmp_path / "file").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_file_is_synced_before_and_folder_after_the_rename(tmp_path, monkeypatch):
    events = []
    fsync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda fd: (events.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd))
    )
    write_bytes(tmp_path / "file", b"data")
    assert [event.endswith(".partial") for event in events] == [True, False]
    assert events[1] == str(tmp_path)


def test_remove_partials_takes_only_what_a_writer_of_a_store_left(tmp_path):
    stale = {
        "plan.json.7-0123abcd.partial",
        "codes/c.12.0.0.7-0123abcd.partial",
        "reports/3.json.7-89abcdef.partial",
    }
    foreign = {
        "download.zip.partial",
        "x.json.7-0123abcd.partial",
        "plan.json.7-0123abcd.partial.bak",
        "plan.json.partial",
        "codes/film.mp4.partial",
        "codes/c.1.0.0.1-2.partial",
        "logs/plan.json.7-0123abcd.partial",
        "mine/plan.json.7-0123abcd.partial",
        "codes/deep/c.12.0.0.7-0123abcd.partial",
    }
    for name in stale | foreign:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "reports" / "4.json.7-0123abcd.partial").mkdir()
    assert {path.relative_to(tmp_path).as_posix() for path in remove_partials(tmp_path)} == stale
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == foreign


def test_every_file_of_a_store_is_written_under_a_name_that_is_ours_to_remove(tmp_path, monkeypatch):
    written = []
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, to: (written.append((self, to)), replace(self, to))[1])
    build(tmp_path, make_plan())
    kept = {to: path for path, to in written if to.exists()}  # a builder's own claim file is gone with it
    assert {to.relative_to(tmp_path).as_posix() for to in kept} == set(store_files(tmp_path))
    assert all(is_temporary(path.relative_to(tmp_path).as_posix()) for path in kept.values())


@given(st.dictionaries(st.text(), JSON))
def test_equal_values_give_equal_bytes(value):
    shuffled = dict(reversed(value.items()))
    assert canonical_json(value) == canonical_json(shuffled)
    assert canonical_json(value).isascii()


def test_nan_is_not_json():
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"cosine": float("nan")})


def test_the_seal_covers_every_byte(tmp_path):
    path = tmp_path / "sealed.json"
    body = {"name": "x", "n": 2.5, "text": "\u00e9"}
    write_json(path, seal(body))
    assert read_sealed(path) == body
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 3):  # three and eight are coprime: every place in a byte has its turn
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(DamagedStoreError):
            read_sealed(path)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{}\n", b'{"a":1}\n', b"[" * 100_000, b"\xff\xfe"])
def test_other_files_are_damaged_not_a_crash(content, tmp_path):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DamagedStoreError, match="checksum disagrees"):
        read_sealed(tmp_path / "file")


def test_reformatted_json_is_damaged(tmp_path):
    write_json(tmp_path / "file", seal({"a": 1}))
    (tmp_path / "file").write_bytes((tmp_path / "file").read_bytes().replace(b":", b": "))
    with pytest.raises(DamagedStoreError):
        read_sealed(tmp_path / "file")
