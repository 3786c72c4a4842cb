"""Builders of one store: who owns what, what a death frees, and what the replaced may still do (nothing)."""

import multiprocessing
import os
import signal
import threading
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stores import build_lock, evict, join_build, owners
from stores.errors import LockedStoreError, ReadOnlyStoreError
from stores.layout import CLAIMS
from stores.owners import Owner
from stores.publish import remove_partials, write_bytes, write_json

FORK = multiprocessing.get_context("fork")


def _hold_with_a_child(root, ready):
    with build_lock(root):
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
        ready.send(child)
        time.sleep(60)


def _claim_and_wait(root, what, ready):
    with join_build(root) as builder:
        ready.send(builder.claim(what))
        time.sleep(60)


@pytest.fixture
def claimant(tmp_path):
    """Another process that has claimed shard 5."""
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=_claim_and_wait, args=(tmp_path, "5", theirs))
    process.start()
    assert ours.recv()
    yield process
    process.kill()
    process.join()


@pytest.fixture
def stranger(tmp_path):
    """A builder of another machine that has claimed shard 5; call it to let its heart beat."""
    here = Owner.here("far-1-00", rank=3)
    far = tmp_path / CLAIMS / "far-1-00.json"
    write_json(far, replace(here, host="far", machine="another boot").to_json())
    (tmp_path / CLAIMS / "5.0").symlink_to(far.name)
    return lambda: os.utime(far)


def test_a_second_builder_is_refused_with_the_first_ones_pid(tmp_path):
    with (
        build_lock(tmp_path),
        pytest.raises(LockedStoreError, match=f"being built by process {os.getpid()} on "),
    ):
        build_lock(tmp_path).__enter__()
    with build_lock(tmp_path):
        pass


def test_a_killed_builder_frees_the_lock_though_its_worker_lives(tmp_path):
    ours, theirs = FORK.Pipe()
    builder = FORK.Process(target=_hold_with_a_child, args=(tmp_path, theirs))
    builder.start()
    worker = ours.recv()
    try:
        with pytest.raises(LockedStoreError, match=f"process {builder.pid} on "):
            build_lock(tmp_path).__enter__()
        os.kill(builder.pid, signal.SIGKILL)
        while not _is_gone(builder.pid):  # still a zombie: nobody has waited for it
            time.sleep(0.01)
        os.kill(worker, 0)
        with build_lock(tmp_path):
            pass
        assert not list((tmp_path / CLAIMS).iterdir())
    finally:
        os.kill(worker, signal.SIGKILL)
        builder.join()


def _is_gone(pid):
    return owners._start_time(pid) is None


def test_an_error_inside_frees_the_lock(tmp_path):
    with pytest.raises(RuntimeError), build_lock(tmp_path):
        raise RuntimeError
    with build_lock(tmp_path):
        pass


def test_nothing_is_left_of_a_builder_that_built_nothing(tmp_path):
    with join_build(tmp_path / "new") as builder:
        assert builder.claim("5")
    assert not (tmp_path / "new").exists()


def test_a_claim_has_one_owner_until_that_releases_it_or_dies(tmp_path, claimant):
    with join_build(tmp_path) as builder:
        assert not builder.claim("5")
        assert builder.claim("6")
        assert builder.claim("6"), "it is ours already"
        builder.release("6")
        assert builder.holder("6") is None
        claimant.kill()
        claimant.join()
        assert builder.claim("5")
        assert builder.holder("5").pid == os.getpid()


def test_of_many_that_take_over_one_wins(tmp_path, claimant):
    claimant.kill()
    claimant.join()
    start, won = threading.Barrier(8), []

    def take_over():
        with join_build(tmp_path) as builder:
            start.wait()
            won.append(builder.claim("5"))
            start.wait()

    threads = [threading.Thread(target=take_over) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]


def test_a_reused_process_id_is_another_process():
    here = Owner.here("me")
    assert not here.has_died
    assert replace(here, started="1").has_died
    assert not replace(here, started="1", machine="elsewhere").has_died, "its process ids mean nothing here"


def test_an_owner_elsewhere_lives_as_long_as_its_heart_beats(tmp_path, stranger, monkeypatch):
    monkeypatch.setattr(owners, "STALE_SECONDS", 0.2)
    with join_build(tmp_path) as builder:
        for _ in range(4):
            assert not builder.claim("5")
            time.sleep(0.1)
            stranger()
        assert not builder.claim("5")
        time.sleep(0.25)
        assert builder.claim("5")


@pytest.mark.parametrize("clock", [0, 2_000_000_000])
def test_clocks_of_other_hosts_are_not_trusted(tmp_path, stranger, clock):
    """However old or new a heartbeat claims to be, it is alive at first sight."""
    os.utime(tmp_path / CLAIMS / "far-1-00.json", (clock, clock))
    with join_build(tmp_path) as builder:
        assert not builder.claim("5")


def test_the_lock_waits_for_a_sign_of_life_from_elsewhere(tmp_path, stranger, monkeypatch):
    monkeypatch.setattr(owners, "STALE_SECONDS", 0.5)
    with build_lock(tmp_path):  # no sign: it is taken for dead
        pass
    assert not list((tmp_path / CLAIMS).iterdir())


def test_the_lock_refuses_when_the_owner_elsewhere_shows_that_it_lives(tmp_path, stranger):
    threading.Timer(0.3, stranger).start()
    with pytest.raises(LockedStoreError, match=r"process \d+ on far \(rank 3\)"):
        build_lock(tmp_path).__enter__()


def test_the_evicted_publish_nothing_more(tmp_path):
    with join_build(tmp_path, name="slow") as slow, join_build(tmp_path) as fast:
        assert slow.claim("5")
        evict(tmp_path, "slow")
        assert fast.claim("5")
        with pytest.raises(LockedStoreError, match="taken over"), slow.fenced("5"):
            write_bytes(tmp_path / "codes" / "c.5.0.0", b"late")
        with fast.fenced("5"):
            write_bytes(tmp_path / "codes" / "c.5.0.0", b"right")
        with pytest.raises(LockedStoreError):
            slow.claim("6")
    assert (tmp_path / "codes" / "c.5.0.0").read_bytes() == b"right"
    assert not list(tmp_path.rglob("*.partial"))


def test_a_takeover_between_check_and_rename_is_noticed(tmp_path):
    """The one who takes over removes private files; the rename of the one replaced then has nothing to rename."""
    with join_build(tmp_path, name="slow") as slow, join_build(tmp_path) as fast:
        slow.claim("5")
        check = slow._require_membership

        def check_then_lose():
            check()
            slow._require_membership = check
            evict(tmp_path, "slow")
            assert fast.claim("5")
            assert len(remove_partials(tmp_path, ["codes/c.5.0.0"])) == 1

        slow._require_membership = check_then_lose
        slow._holder = lambda what: (0, None)  # as it was before the takeover
        with pytest.raises(LockedStoreError), slow.fenced("5"):
            write_bytes(tmp_path / "codes" / "c.5.0.0", b"late")
    assert not (tmp_path / "codes" / "c.5.0.0").exists()


@given(st.binary(max_size=40))
@settings(max_examples=50, deadline=None)
def test_foreign_bytes_are_no_owner(tmp_path_factory, content):
    root = tmp_path_factory.mktemp("store")
    (root / CLAIMS).mkdir(parents=True)
    (root / CLAIMS / "x.json").write_bytes(content)
    (root / CLAIMS / "5.0").symlink_to("x.json")
    (root / CLAIMS / "6.0").write_bytes(content)
    with join_build(root) as builder:
        assert builder.others() == []
        assert builder.claim("5")
        assert builder.claim("6")
    with build_lock(root):
        pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (tmp_path / "store").mkdir(mode=0o555)
    with pytest.raises(ReadOnlyStoreError, match="cannot be written"):
        build_lock(tmp_path / "store").__enter__()
