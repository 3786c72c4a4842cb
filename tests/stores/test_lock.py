"""One builder per store; the kernel frees the lock when its holder is killed, children or not."""

import multiprocessing
import os
import signal
import time

import pytest

from stores import build_lock
from stores.errors import LockedStoreError

FORK = multiprocessing.get_context("fork")


def _hold_with_a_child(root, ready):
    with build_lock(root):
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
        ready.send(child)
        time.sleep(60)


def test_a_second_builder_is_refused_with_the_first_ones_pid(tmp_path):
    with (
        build_lock(tmp_path),
        pytest.raises(LockedStoreError, match=f"being built by process {os.getpid()};"),
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
        with pytest.raises(LockedStoreError, match=f"process {builder.pid};"):
            build_lock(tmp_path).__enter__()
        os.kill(builder.pid, signal.SIGKILL)
        builder.join()
        os.kill(worker, 0)
        with build_lock(tmp_path):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)


def test_an_error_inside_frees_the_lock(tmp_path):
    with pytest.raises(RuntimeError), build_lock(tmp_path):
        raise RuntimeError
    with build_lock(tmp_path):
        pass
