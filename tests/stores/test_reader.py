"""Reading a folder: what is not a store, open files under fork and threads, stores that cannot be written."""

import multiprocessing
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import stores.files
from stores import open_store
from stores.errors import MissingStoreError, StoreError, UnknownKeyError
from stores.index import KeyIndex
from tests.stores.builder import build, key, make_plan

READABLE = [row for row in range(10) if row != 2]


@pytest.fixture
def folder(tmp_path):
    build(tmp_path, make_plan(), frozenset({2}))
    return tmp_path


def test_what_is_not_a_store_says_what_to_run(tmp_path):
    (tmp_path / "file").write_text("")
    for path, found in [
        ("typo", "does not exist"),
        (".", "holds no feature store"),
        ("file", "holds no feature"),
    ]:
        with pytest.raises(MissingStoreError, match=f"{found}.*viral cache build") as caught:
            open_store(tmp_path / path)
        assert "\n" not in str(caught.value)


def _send_rows(store, rows, pipe):
    pipe.send(store.read_many([key(row) for row in rows]))


def test_a_forked_worker_shares_its_parents_open_files_safely(folder):
    store = open_store(folder)
    expected = store.read_many([key(row) for row in READABLE])
    ours, theirs = multiprocessing.Pipe()
    worker = multiprocessing.get_context("fork").Process(target=_send_rows, args=(store, READABLE, theirs))
    worker.start()
    assert all((store.read_many([key(row) for row in READABLE]) == expected).all() for _ in range(50))
    assert (ours.recv() == expected).all()
    worker.join()
    assert worker.exitcode == 0


def test_threads_share_a_store_with_few_open_files(tmp_path, monkeypatch):
    """Files are dropped and their descriptors reused under the readers; nobody may read from a stranger's."""
    monkeypatch.setattr(stores.files, "MAX_OPEN_FILES", 8)
    build(tmp_path, make_plan(40, shard_size=1))
    store = open_store(tmp_path)
    expected = store.read_many([key(row) for row in range(40)])

    def read(number):
        row = number * 7 % 40
        return (store.read(key(row)) == expected[row]).all()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(read, range(2000)))
    finally:
        sys.setswitchinterval(interval)
    assert len(store._files._open) < 8 + 4


@pytest.mark.parametrize("store", ["zarr", "webdataset"])
def test_a_store_that_cannot_be_written_opens_reads_and_verifies(tmp_path, store):
    """Permissions do not stop the root user, so an audit hook turns every attempt to write into a failure."""
    root = tmp_path / "store"
    build(root, make_plan(store=store))
    for path in (*root.rglob("*"), root):
        path.chmod(0o555 if path.is_dir() else 0o444)
    script = f"""
        import os, sys
        from pathlib import Path
        from stores import open_store, verify_store
        from tests.stores.builder import key
        root = {str(root)!r}

        def forbid(event, arguments):
            writes = event in ("os.mkdir", "os.rename", "os.remove", "os.utime", "os.truncate", "os.chmod") or (
                event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            )
            if writes and str(arguments[0]).startswith(root):
                os._exit(7)

        sys.addaudithook(forbid)
        print(open_store(root).read_many([key(9), key(0)]).shape, verify_store(Path(root)).ok, flush=True)
        open(root + "/attempt", "w")
    """
    repository = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    for path in (root, *root.rglob("*")):
        path.chmod(0o755)
    assert done.stdout == "(2, 12, 16) True\n", done.stderr
    assert done.returncode == 7, "the hook must notice a real attempt"


def test_keys_that_share_a_prefix_are_told_apart():
    keys = np.zeros((50, 32), np.uint8)
    keys[:, 8] = np.arange(50)
    index = KeyIndex(keys)
    assert [index.find(bytes(stored).hex()) for stored in keys] == list(range(50))
    assert index.find("00" * 9 + "01" * 23) is None


def test_store_errors_print_without_quotes():
    assert str(UnknownKeyError("no image")) == "no image"
    assert issubclass(UnknownKeyError, StoreError)
