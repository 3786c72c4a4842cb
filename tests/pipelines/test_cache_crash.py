"""Crashes of the real command: SIGKILL at random moments, and a disk that fills up.

The command runs in forked processes, which spares each of them the seconds of importing torch; the slow test starts
the installed console script instead.
"""

import itertools
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.pipelines.pictures import store_bytes, write_pictures

CONSOLE_SCRIPT = Path(sys.executable).with_name("viral")


def _arguments(images, out):
    settings = {"vfm": "micro", "weights": "random", "device": "cpu", "images": images, "out": out}
    settings |= {"shard-size": 2, "batch-size": 1, "workers": 1}
    return ["cache", "build", *(f"--{name}={value}" for name, value in settings.items())]


def _viral(arguments, environment, stderr):
    from cli.main import main

    os.environ |= environment
    file = os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, sys.stderr.fileno())
    sys.argv = ["viral", *arguments]
    main()


_count = itertools.count()


class _Forked:
    """`viral cache build` in a fork of this process."""

    def __init__(self, images, out, **environment):
        self.stderr = out.parent / f"stderr-{next(_count)}.txt"
        context = multiprocessing.get_context("fork")
        arguments = (_arguments(images, out), environment, self.stderr)
        self.process = context.Process(target=_viral, args=arguments)
        self.process.start()

    def running(self):
        return self.process.is_alive()

    def kill(self):
        self.process.kill()

    def wait(self):
        self.process.join()  # a timeout would also wait for orphaned workers, which need seconds to notice
        return self.process.exitcode


class _Script:
    """`viral cache build` as a user starts it."""

    def __init__(self, images, out, **environment):
        self.stderr = out.parent / f"stderr-{next(_count)}.txt"
        command = [str(CONSOLE_SCRIPT), *_arguments(images, out)]
        with self.stderr.open("w") as file:
            self.process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=file, env=os.environ | environment
            )

    def running(self):
        return self.process.poll() is None

    def kill(self):
        self.process.kill()

    def wait(self):
        return self.process.wait(120)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures") / "images"
    write_pictures(folder, 40)
    (folder / "torn.png").write_bytes((folder / "000.png").read_bytes()[:60])
    return folder


@pytest.fixture(scope="module")
def uninterrupted(images, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "store"
    assert _Forked(images, out).wait() == 0
    return store_bytes(out)


def _kill_once(start, images, out, rng):
    """Start the command, kill it a random moment after it claimed or wrote a shard; its exit status."""
    watched = rng.choice([out / "logs" / "claims", out / "reports"])
    before = _touched(watched)
    build = start(images, out)
    while build.running() and _touched(watched) == before:
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.2))
    build.kill()  # the main process alone: its workers have to notice by themselves
    status = build.wait()
    assert status in (0, -signal.SIGKILL), build.stderr.read_text()
    return status


def _touched(path):
    return path.stat().st_mtime_ns if path.exists() else None


def _kill_many_times(start, images, out, kills, seed):
    rng = random.Random(seed)
    shards_at_kill = []
    while len(shards_at_kill) < kills:
        status = _kill_once(start, images, out, rng)
        if status == 0:  # it got through; start over for the kills that are left
            shutil.rmtree(out)
        else:
            shards_at_kill.append(len(list((out / "reports").glob("*.json"))))
    assert any(0 < shards < 20 for shards in shards_at_kill), "no kill fell into the middle of a build"
    assert start(images, out).wait() == 0


def test_a_build_killed_at_random_moments_equals_an_uninterrupted_one(images, uninterrupted, tmp_path):
    _kill_many_times(_Forked, images, tmp_path / "store", kills=10, seed=0)
    assert store_bytes(tmp_path / "store") == uninterrupted


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_console_script_survives_twenty_kills(images, uninterrupted, tmp_path):
    _kill_many_times(_Script, images, tmp_path / "store", kills=20, seed=1)
    assert store_bytes(tmp_path / "store") == uninterrupted


RANKS = 3


def _kill_among_many(start, images, out, kills, seed):
    """Several processes build one store; a random one is killed at a random moment and started again, many times."""

    def begin(rank):
        return start(images, out, RANK=str(rank), WORLD_SIZE=str(RANKS))

    rng = random.Random(seed)
    builders = [begin(rank) for rank in range(RANKS)]
    in_the_middle = 0
    while kills:
        watched, rank = rng.choice([out / "logs" / "claims", out / "reports"]), rng.randrange(RANKS)
        before = _touched(watched)
        while builders[rank].running() and _touched(watched) == before:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.1))
        in_the_middle += 0 < len(list((out / "reports").glob("*.json"))) < 20
        builders[rank].kill()
        if _ended(builders[rank]) == 0:  # they got through; start over for the kills that are left
            assert [_ended(builder) for builder in builders] == [0] * RANKS
            shutil.rmtree(out)
            builders = [begin(other) for other in range(RANKS)]
        else:
            kills -= 1
            builders[rank] = begin(rank)
    assert [_ended(builder) for builder in builders] == [0] * RANKS
    assert in_the_middle, "no kill fell into the middle of a build"


def _ended(builder):
    status = builder.wait()
    assert status in (0, -signal.SIGKILL), builder.stderr.read_text()
    return status


def test_processes_that_die_and_return_build_the_same_store(images, uninterrupted, tmp_path):
    _kill_among_many(_Forked, images, tmp_path / "store", kills=6, seed=2)
    assert store_bytes(tmp_path / "store") == uninterrupted
    assert not list((tmp_path / "store" / "logs" / "claims").iterdir())


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_hundred_kills_among_several_processes(images, uninterrupted, tmp_path):
    _kill_among_many(_Forked, images, tmp_path / "store", kills=200, seed=3)
    assert store_bytes(tmp_path / "store") == uninterrupted


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_survivors_finish_without_the_dead(images, uninterrupted, tmp_path):
    out = tmp_path / "store"
    builders = [_Script(images, out, RANK=str(rank), WORLD_SIZE="3") for rank in range(3)]
    while not list((out / "reports").glob("*.json")):
        assert any(builder.running() for builder in builders)
        time.sleep(0.002)
    builders[0].kill()
    builders[0].wait()
    assert [builder.wait() for builder in builders[1:]] == [0, 0]
    assert store_bytes(out) == uninterrupted


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, with room for the bytes of a store but not for all of its files."""
    point = tmp_path / "disk"
    point.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m,nr_inodes=30", "tmpfs", str(point)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield point
    subprocess.run(["umount", "--lazy", str(point)], check=True)


def test_a_full_disk_stops_the_build_in_one_line_and_it_resumes(images, uninterrupted, small_disk):
    out = small_disk / "store"
    full = _Forked(images, out)
    assert full.wait() == 2
    message = full.stderr.read_text()
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    assert "is full" in message
    assert "it resumes" in message
    assert list((out / "reports").iterdir()), "the test wants the disk to fill up in the middle"
    assert not list(out.rglob("*.partial"))
    subprocess.run(["mount", "-o", "remount,size=64m,nr_inodes=1000", str(small_disk)], check=True)
    assert _Forked(images, out).wait() == 0
    assert store_bytes(out) == uninterrupted


def test_a_store_that_cannot_fit_is_refused_before_anything_is_written(images, small_disk):
    with (small_disk / "filler").open("wb") as filler:
        os.posix_fallocate(filler.fileno(), 0, shutil.disk_usage(small_disk).free - 100_000)
    refused = _Forked(images, small_disk / "store")
    assert refused.wait() == 2
    assert refused.stderr.read_text().startswith("error: ")
    assert "are free" in refused.stderr.read_text()
    assert {path.name for path in (small_disk / "store").rglob("*") if path.is_file()} <= {"hashes"}


def test_a_read_only_store_is_one_clear_error(images, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    refused = _Forked(images, small_disk)
    assert refused.wait() == 2
    assert refused.stderr.read_text() == (
        f"error: {small_disk} cannot be written (Read-only file system); "
        "give write permission, or choose another --out.\n"
    )
