"""Stores behind a URL: few requests, bounded retries, a local cache that is never trusted blindly."""

from http import HTTPStatus

import fsspec
import pytest

import stores.remote
from stores import open_store
from stores.errors import MissingStoreError, RemoteStoreError
from stores.file_cache import FileCache
from tests.stores.builder import build, key, make_plan
from tests.stores.servers import http_server

KEYS = [key(row) for row in range(10)]


@pytest.fixture
def cache(tmp_path):
    return FileCache(tmp_path / "cache", 10**6)


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(stores.remote, "FIRST_DELAY", 0.001)
    build(tmp_path / "web" / "store", make_plan())
    with http_server(tmp_path / "web") as running:
        yield running


@pytest.fixture
def expected(tmp_path, server):
    return open_store(tmp_path / "web" / "store").read_many(KEYS)


def shard_requests(server):
    return [path for path in server.requests if "/codes/" in path]


def test_any_fsspec_url_reads(tmp_path, cache):
    build(tmp_path / "store", make_plan())
    memory = fsspec.filesystem("memory")
    for path in filter(lambda path: path.is_file(), (tmp_path / "store").rglob("*")):
        memory.pipe_file(f"/caches/a/{path.relative_to(tmp_path / 'store')}", path.read_bytes())
    expected = open_store(tmp_path / "store").read_many(KEYS)
    for url in ("memory://caches/a", "memory://caches/a/", f"file://{tmp_path}/store"):
        assert (open_store(url, cache).read_many(KEYS) == expected).all()


def test_one_request_per_record_and_one_per_run_of_neighbours(server, cache, expected):
    store = open_store(f"{server.url}/store", cache)
    store.read(KEYS[5])
    assert shard_requests(server) == ["/store/codes/c.1.0.0"]
    assert (store.read_many(KEYS[:4]) == expected[:4]).all()
    assert shard_requests(server)[1:] == ["/store/codes/c.0.0.0"]
    assert (store.read_many(KEYS) == expected).all()
    assert len(shard_requests(server)) == 5, "records 4, 6-7 and 8-9 were missing"


def test_what_was_read_is_not_asked_for_again_by_any_process(server, cache, expected):
    url = f"{server.url}/store"
    open_store(url, cache).read_many(KEYS)
    before = len(shard_requests(server))
    again = open_store(url, FileCache(cache.folder, cache.max_bytes))
    assert (again.read_many(KEYS) == expected).all()
    assert len(shard_requests(server)) == before


def test_runs_are_bounded(server, cache, monkeypatch, expected):
    monkeypatch.setattr(stores.remote, "MAX_RUN", 2 * (12 * 16 + 4))
    assert (open_store(f"{server.url}/store", cache).read_many(KEYS) == expected).all()
    assert len(shard_requests(server)) == 5


def test_passing_trouble_is_retried(server, cache, expected):
    store = open_store(f"{server.url}/store", cache)
    server.fail_next = stores.remote.ATTEMPTS - 1
    assert (store.read(KEYS[3]) == expected[3]).all()
    server.status, server.fail_next = HTTPStatus.TOO_MANY_REQUESTS, 2
    assert (store.read_many(KEYS) == expected).all()


def test_lasting_trouble_is_a_named_error_after_so_many_attempts(server, cache):
    store = open_store(f"{server.url}/store", cache)
    before, server.fail_next = len(server.requests), 10**6
    with pytest.raises(
        RemoteStoreError, match=r"cannot be read \(.*503.*attempt 5 of 5\); check URL"
    ) as caught:
        store.read(KEYS[3])
    assert len(server.requests) - before == stores.remote.ATTEMPTS
    assert "\n" not in str(caught.value)


def test_no_permission_is_not_asked_for_twice(server, cache):
    server.status, server.fail_next = HTTPStatus.FORBIDDEN, 10**6
    with pytest.raises(RemoteStoreError, match=r"attempt 1 of 5"):
        open_store(f"{server.url}/store", cache)
    assert len(server.requests) == 1


def test_a_server_that_answers_whole_files_is_refused(server, cache):
    server.ignore_ranges = True
    store = open_store(f"{server.url}/store", cache)
    with pytest.raises(RemoteStoreError, match="must support range requests"):
        store.read(KEYS[3])


def test_nobody_there(cache, monkeypatch, server):
    monkeypatch.setattr(stores.remote, "FIRST_DELAY", 0)
    with pytest.raises(MissingStoreError, match="holds no finished feature store; correct the URL"):
        open_store(f"{server.url}/typo", cache)
    with pytest.raises(RemoteStoreError, match="cannot be opened"):
        open_store("nonsense://store", cache)
    server.shutdown()
    server.server_close()
    with pytest.raises(RemoteStoreError, match="attempt 5 of 5"):
        open_store(f"{server.url}/store", cache)


def test_a_damaged_copy_in_the_cache_is_fetched_again(server, cache, expected):
    store = open_store(f"{server.url}/store", cache)
    store.read_many(KEYS)
    for path in cache.folder.glob("*/*"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    before = len(shard_requests(server))
    assert (store.read_many(KEYS) == expected).all()
    assert len(shard_requests(server)) == before + 10
    assert (store.read_many(KEYS) == expected).all()
    assert len(shard_requests(server)) == before + 10


def test_a_store_rebuilt_at_its_url_is_not_read_from_the_old_copies(tmp_path, server, cache):
    url = f"{server.url}/store"
    open_store(url, cache).read_many(KEYS)
    build(tmp_path / "new", make_plan(teacher="another"), frozenset({0}))
    (tmp_path / "web" / "store").rename(tmp_path / "old")
    (tmp_path / "new").rename(tmp_path / "web" / "store")
    before = len(shard_requests(server))
    open_store(url, cache).read(KEYS[1])
    assert len(shard_requests(server)) == before + 1


def test_the_environment_says_where_and_how_much_to_keep(tmp_path, server, monkeypatch):
    monkeypatch.setenv("VIRAL_STORE_CACHE", str(tmp_path / "kept"))
    open_store(f"{server.url}/store").read_many(KEYS)
    assert len(list((tmp_path / "kept").glob("*/*"))) == 10
    monkeypatch.setenv("VIRAL_STORE_CACHE_GB", "0")
    monkeypatch.setenv("VIRAL_STORE_CACHE", str(tmp_path / "none"))
    open_store(f"{server.url}/store").read_many(KEYS)
    assert not (tmp_path / "none").exists()
    monkeypatch.setenv("VIRAL_STORE_CACHE_GB", "plenty")
    with pytest.raises(RemoteStoreError, match="expected a number of gigabytes"):
        open_store(f"{server.url}/store")
