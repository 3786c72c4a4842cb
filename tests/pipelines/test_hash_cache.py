"""Hashes are remembered for unchanged files, and for nothing else: not changed, not fresh, not damaged."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from pipelines import hash_cache
from pipelines.hash_cache import SETTLED_NS, HashCache, is_settled
from pipelines.hash_images import NAMES_PER_TASK, content_keys, path_keys
from stores import Reject
from tests.data.test_image_files import write_tar
from viral.data.image_files import ImageFiles, Stamp
from viral.data.keys import path_key
from viral.errors import DataError

TICK = 0.02
"""Seconds; longer than the clock of any local file system takes to move on."""
NOW = 1_800_000_000 * 10**9


@pytest.fixture
def settled(monkeypatch):
    """Files a test has just written count as old: nothing here changes one twice within a tick."""
    monkeypatch.setattr(hash_cache, "SETTLED_NS", -(10**9))


@pytest.fixture
def images(tmp_path):
    root = tmp_path / "images"
    root.mkdir()
    for number in range(5):
        (root / f"{number}.jpg").write_bytes(bytes([number]) * 100)
    return root


def keys(images: Path, store: Path, names=None) -> tuple[dict[str, str | Reject], int]:
    """Key or reject by name, and how many files had to be read."""
    names = names or sorted(path.name for path in images.iterdir())
    with HashCache(store / "logs" / "hashes") as cache:
        found = list(content_keys(ImageFiles(images), names, cache))
    assert [item.name for item in found] == names
    return {item.name: item.key for item in found}, sum(item.was_read for item in found)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.usefixtures("settled")
def test_an_unchanged_folder_is_read_once(images, tmp_path):
    first, num_read = keys(images, tmp_path)
    assert first == {path.name: digest(path) for path in images.iterdir()}
    assert num_read == 5
    assert keys(images, tmp_path) == (first, 0)
    (images / "new.jpg").write_bytes(b"new")
    (images / "3.jpg").write_bytes(b"other")
    again, num_read = keys(images, tmp_path)
    assert again == {path.name: digest(path) for path in images.iterdir()}
    assert num_read == 2


@pytest.mark.usefixtures("settled")
def test_a_change_that_keeps_size_and_mtime_is_noticed(images, tmp_path):
    """Also with a clock that is wrong: the file comes from the future before and after."""
    path = images / "0.jpg"
    for seconds in (1_000_000_000, 4_000_000_000):
        path.write_bytes(b"a" * 100)
        os.utime(path, (seconds, seconds))
        keys(images, tmp_path)
        time.sleep(TICK)
        path.write_bytes(b"b" * 100)
        os.utime(path, (seconds, seconds))
        assert keys(images, tmp_path)[0]["0.jpg"] == digest(path)


def test_fresh_files_and_files_from_the_future_are_read_again(images, tmp_path):
    """Git's racy timestamp: a second change in the same tick leaves the same stamp."""
    keys(images, tmp_path)
    future = time.time() + 10_000
    os.utime(images / "1.jpg", (future, future))
    assert keys(images, tmp_path)[1] == 5


@pytest.mark.parametrize(
    ("mtime", "ctime", "trusted"),
    [
        (NOW - 10 * SETTLED_NS, NOW - 10 * SETTLED_NS, True),
        (NOW - SETTLED_NS, NOW - 10 * SETTLED_NS, False),
        (NOW - 10 * SETTLED_NS, NOW - SETTLED_NS // 2, False),
        (NOW + 1, NOW - 10 * SETTLED_NS, False),
        (NOW - 10 * SETTLED_NS, NOW + 10**15, False),
    ],
)
def test_only_stamps_that_had_time_to_settle_are_trusted(mtime, ctime, trusted):
    assert is_settled(Stamp(size=1, mtime_ns=mtime, ctime_ns=ctime, inode=1), NOW) == trusted


@pytest.mark.usefixtures("settled")
def test_a_damaged_cache_is_hashed_again_where_it_is_damaged(images, tmp_path):
    first, _ = keys(images, tmp_path)
    path = tmp_path / "logs" / "hashes"
    whole = path.read_bytes()
    assert len(whole) == 5 * 52
    for bit in range(0, 8 * len(whole), 97):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        assert keys(images, tmp_path) == (first, 1)
    for content in (whole[:130], whole[:130] + bytes(1000), b"\0" * 520):
        path.write_bytes(content)
        assert keys(images, tmp_path)[0] == first
        assert keys(images, tmp_path) == (first, 0), "what was hashed again is remembered, behind the damage"


@pytest.mark.usefixtures("settled")
def test_a_killed_run_keeps_what_it_has_hashed(images, tmp_path, monkeypatch):
    monkeypatch.setattr(hash_cache, "FLUSH_RECORDS", 2)
    cache = HashCache(tmp_path / "logs" / "hashes")  # never closed, as if killed
    list(content_keys(ImageFiles(images), sorted(os.listdir(images)), cache))
    assert keys(images, tmp_path)[1] == 1


@pytest.mark.usefixtures("settled")
def test_a_cache_that_cannot_be_written_is_done_without(images, tmp_path):
    (tmp_path / "logs").write_bytes(b"a file where the folder should be")
    first, _ = keys(images, tmp_path)
    assert keys(images, tmp_path) == (first, 5)
    (tmp_path / "logs").unlink()
    (tmp_path / "logs" / "hashes").mkdir(parents=True)
    assert keys(images, tmp_path) == (first, 5)


@pytest.mark.usefixtures("settled")
def test_a_file_that_grows_while_it_is_read_is_not_remembered(images, tmp_path, monkeypatch):
    """What the plan says of it is what was read; the build will find it changed."""
    fstat = os.fstat

    def grow_and_fstat(descriptor):
        with (images / "2.jpg").open("ab") as file:
            file.write(b"more")
        return fstat(descriptor)

    monkeypatch.setattr("pipelines.hash_images.os.fstat", grow_and_fstat)
    found, _ = keys(images, tmp_path, ["2.jpg"])
    assert found["2.jpg"] == hashlib.sha256(b"\2" * 100).hexdigest()
    monkeypatch.undo()
    monkeypatch.setattr(hash_cache, "SETTLED_NS", -(10**9))
    assert keys(images, tmp_path, ["2.jpg"]) == ({"2.jpg": digest(images / "2.jpg")}, 1)


@pytest.mark.usefixtures("settled")
def test_members_of_tar_files_have_the_keys_of_the_files_they_were(images, tmp_path):
    members = {path.name: path.read_bytes() for path in sorted(images.iterdir())}
    shards = tmp_path / "shards"
    write_tar(shards / "0.tar", members)
    names = [f"0.tar/{name}" for name in members]
    found, _ = keys(shards, tmp_path, names)
    assert list(found.values()) == [digest(images / name) for name in members]
    assert keys(shards, tmp_path, names) == (found, 0)
    time.sleep(TICK)
    write_tar(shards / "0.tar", dict(reversed(members.items())))
    assert keys(shards, tmp_path, names) == (found, 5)
    (shards / "0.tar").write_bytes((shards / "0.tar").read_bytes()[:1000])
    with pytest.raises(DataError, match=r"0\.tar' is no sound tar file"):
        keys(shards, tmp_path, names)


def test_order_is_kept_over_many_tasks_and_rejects_have_reasons(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    names = [f"{number}.jpg" for number in range(3 * NAMES_PER_TASK + 7)]
    for name in names[::2]:
        (folder / name).write_bytes(name.encode())
    found, num_read = keys(folder, tmp_path, names)
    assert num_read == len(names[::2])
    assert [found[name] for name in names[::2]] == [digest(folder / name) for name in names[::2]]
    assert {found[name].reason for name in names[1::2]} == {"No such file or directory"}
    by_path = {item.name: item.key for item in path_keys(ImageFiles(folder), names)}
    assert [by_path[name] for name in names[::2]] == [path_key(name, len(name)) for name in names[::2]]
    assert {by_path[name].reason for name in names[1::2]} == {"No such file or directory"}
