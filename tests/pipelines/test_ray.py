"""The engine `ray` on a real cluster of several nodes on this machine, with workers and a node that are killed."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.cache_build import build_cache
from pipelines.cache_request import CacheRequest
from stores.layout import CLAIMS
from stores.owners import Owner
from tests.pipelines.pictures import MICRO, store_bytes, write_pictures
from viral.errors import ConfigError, UnknownNameError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
RAY = Path(sys.executable).with_name("ray")


class Node:
    """`ray start` in a process group of its own, so that it can be killed as a machine is: all at once."""

    def __init__(self, *arguments):
        command = [str(RAY), "start", "--block", "--num-cpus=1", "--object-store-memory=80000000", *arguments]
        environment = {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_raylet_start_wait_time_s": "120",
            "OMP_NUM_THREADS": "1",
        }
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | environment,
            start_new_session=True,
        )

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def cluster():
    """Address of a cluster with a head and two more nodes, and the nodes; one CPU each."""
    ray = pytest.importorskip("ray")
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    address = f"{ray.util.get_node_ip_address()}:{port}"
    nodes = [Node("--head", f"--port={port}", "--include-dashboard=false")]
    try:
        _wait_for_nodes(address, 1)
        for count in (
            2,
            3,
        ):  # one after the other: nodes that start together on one machine take the same names
            nodes.append(Node(f"--address={address}"))
            _wait_for_nodes(address, count)
        yield address, nodes
    finally:
        for node in reversed(nodes):
            node.kill()


def _wait_for_nodes(address, count):
    """In a process of its own: the tests' own connects and disconnects."""
    script = """
import logging, sys, time, ray
while True:
    try:
        ray.init(address=sys.argv[1], logging_level=logging.ERROR, log_to_driver=False)
        break
    except ConnectionError:
        time.sleep(1)
while sum(node["Alive"] for node in ray.nodes()) < int(sys.argv[2]):
    time.sleep(0.5)
"""
    subprocess.run(
        [sys.executable, "-c", script, address, str(count)], check=True, timeout=300, capture_output=True
    )


@pytest.fixture
def request_(tmp_path, cluster):
    write_pictures(tmp_path / "images", 120)
    return CacheRequest(
        **MICRO,
        images=tmp_path / "images",
        out=tmp_path / "store",
        shard_size=2,
        batch_size=1,
        engine="ray",
        address=cluster[0],
    )


@pytest.fixture
def whole(request_, tmp_path):
    return store_bytes(build_cache(replace(request_, engine="local", out=tmp_path / "whole")).root)


def _reports(out):
    return len(list((out / "reports").glob("*.json")))


def test_a_cluster_builds_the_same_store(request_, whole, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stores").mkdir()
    (tmp_path / "stores" / "__init__.py").write_text("raise RuntimeError('decoy imported')")
    relative = replace(request_, images=Path("images"), out=Path("store"))
    result = build_cache(relative)
    assert (result.num_shards_built, result.num_shards_pending) == (60, 0)
    assert store_bytes(request_.out) == whole


def test_errors_keep_their_type_and_stop_all(request_):
    with pytest.raises(UnknownNameError, match="Unknown profile 'papper'"):
        build_cache(replace(request_, profile="papper"))
    with pytest.raises(ConfigError, match="the Ray cluster has 0 GPUs"):
        build_cache(replace(request_, device="cuda"))
    with pytest.raises(ConfigError, match=r"No Ray cluster at 127.0.0.1:1 .*check --address"):
        build_cache(replace(request_, address="127.0.0.1:1"))


def test_twenty_killed_workers(request_, whole):
    rng, killed, over = random.Random(0), [], threading.Event()

    def kill_now_and_then():
        while len(killed) < 20 and not over.is_set():
            before = _reports(request_.out)
            while _reports(request_.out) == before and not over.is_set():
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.1))
            owners = [Owner.read(path) for path in (request_.out / CLAIMS).glob("*.json")]
            if living := [owner for owner in owners if owner and not owner.has_died]:
                victim = rng.choice(living)
                os.kill(victim.pid, signal.SIGKILL)
                killed.append(victim)

    killer = threading.Thread(target=kill_now_and_then)
    killer.start()
    try:
        result = build_cache(request_)
    finally:
        over.set()
        killer.join()
    assert len(killed) == 20
    assert result.manifest is not None
    assert store_bytes(request_.out) == whole


def test_a_node_that_dies_half_way(request_, whole, cluster):
    """The last test of this cluster: it has a node less afterwards."""
    nodes = cluster[1]

    def kill_a_node():
        while _reports(request_.out) < 20:
            time.sleep(0.01)
        nodes.pop().kill()

    killer = threading.Thread(target=kill_a_node)
    killer.start()
    result = build_cache(request_)
    killer.join()
    assert result.manifest is not None
    assert store_bytes(request_.out) == whole
