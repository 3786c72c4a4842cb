"""The local cache: least recently used goes first, the cap holds among processes, no file is ever half there."""

import multiprocessing
import os

from stores.file_cache import FileCache


def name(number):
    return f"{number:02x}" * 32


def content(number, size=100):
    return bytes([number % 256]) * size


def size_of(cache):
    return sum(path.stat().st_size for path in cache.folder.glob("*/*"))


def test_what_was_used_longest_ago_goes_first(tmp_path):
    cache = FileCache(tmp_path, 1000)
    for number in range(10):
        cache.put(name(number), content(number))
        os.utime(cache._path(name(number)), ns=(number, number))
    assert cache.get(name(0)) == content(0)
    cache.put(name(10), content(10))
    assert cache.get(name(0)) == content(0)
    assert cache.get(name(1)) is None
    assert cache.get(name(10)) == content(10)
    assert size_of(cache) <= 1000


def test_a_file_above_the_cap_and_a_file_twice_are_no_trouble(tmp_path):
    cache = FileCache(tmp_path, 1000)
    cache.put(name(1), content(1, 1001))
    assert cache.get(name(1)) is None
    for _ in range(20):
        cache.put(name(2), content(2))
    cache.put(name(3), content(3))
    assert cache.get(name(2)) == content(2)
    assert cache.drop(name(2))
    assert not cache.drop(name(2))
    assert cache.get(name(2)) is None


def test_a_folder_that_cannot_be_written_only_costs_time(tmp_path, caplog):
    (tmp_path / "file").write_text("mine")
    cache = FileCache(tmp_path / "file" / "below", 1000)
    cache.put(name(1), content(1))
    assert cache.get(name(1)) is None
    assert not cache.drop(name(1))
    assert "cannot keep remote data" in caplog.text


def test_what_a_killed_writer_left_is_evicted_like_anything_else(tmp_path):
    cache = FileCache(tmp_path, 1000)
    cache.put(name(1), content(1))
    partial = tmp_path / "01" / "left.1-00000000.partial"
    partial.write_bytes(content(0, 900))
    os.utime(partial, ns=(0, 0))
    for number in range(2, 12):
        cache.put(name(number), content(number))
    assert not partial.exists()
    assert size_of(cache) <= 1000


def _hammer(folder, first, pipe):
    cache, wrong, most = FileCache(folder, 3000), 0, 0
    for step in range(150):
        number = (first + step * 7) % 60
        found = cache.get(name(number))
        wrong += found not in (None, content(number))
        if found is None:
            cache.put(name(number), content(number))
        if step % 10 == 0:
            with cache._total():  # nobody publishes meanwhile
                published = [path for path in folder.glob("*/*") if path.suffix != ".partial"]
                most = max(most, sum(path.stat().st_size for path in published))
    pipe.send((wrong, most))


def test_several_processes_keep_the_cap_and_read_whole_files(tmp_path):
    tmp_path.joinpath("00").mkdir()
    pipes, workers = [], []
    for first in (0, 20, 40):
        ours, theirs = multiprocessing.Pipe()
        workers.append(
            multiprocessing.get_context("fork").Process(target=_hammer, args=(tmp_path, first, theirs))
        )
        pipes.append(ours)
    for worker in workers:
        worker.start()
    results = [pipe.recv() for pipe in pipes]
    for worker in workers:
        worker.join()
    assert [wrong for wrong, _ in results] == [0, 0, 0]
    assert 0 < max(most for _, most in results) <= 3000
    assert not list(tmp_path.glob("*/*.partial"))
