"""Writing: whole shards or none, whatever happens; the finished store does not remember interruptions."""

import errno
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from stores import (
    CODECS,
    build_lock,
    create_store,
    finish_store,
    load_plan,
    open_store,
    pending_shards,
    write_shard,
)
from stores.errors import DiskFullError, IncompleteStoreError, StoreError
from stores.report import StoredReport
from tests.stores.builder import build, features, key, make_plan, make_shard, snapshot

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def created(tmp_path):
    plan = make_plan()
    with build_lock(tmp_path):
        create_store(tmp_path, plan)
    return tmp_path, plan


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("num_images", [1, 4, 10])
def test_zarr_alone_reads_the_store(codec, num_images, tmp_path):
    plan = make_plan(num_images, codec=codec)
    build(tmp_path, plan, frozenset({2}))
    group = zarr.open(tmp_path, mode="r")
    rejected = {2} & set(range(num_images))
    assert group["codes"].shape == (num_images, 12, plan.codec.width(16))
    assert group["codes"].dtype == plan.codec.dtype
    assert group["codes"].attrs == plan.codec.attributes(16)
    for row in range(num_images):
        expected = plan.codec.encode(
            features([key(row)]), {name: group[name][:] for name in plan.codec.tables}
        )
        assert (group["codes"][row] == (0 if row in rejected else expected[0])).all()
    assert [bytes(stored).hex() for stored in group["keys"][:]] == list(plan.keys)
    if codec == "fp16":
        exact = features(plan.keys).astype(np.float16)
        assert all(
            (group["codes"][row] == exact[row]).all() for row in range(num_images) if row not in rejected
        )


def test_zarr_alone_notices_a_flipped_bit(tmp_path):
    build(tmp_path, make_plan())
    path = tmp_path / "codes" / "c.1.0.0"
    data = bytearray(path.read_bytes())
    data[200] ^= 4
    path.write_bytes(data)
    codes = zarr.open(tmp_path, mode="r")["codes"]
    assert codes[4].shape == (12, 16)
    with pytest.raises(ValueError, match=r"checksum do not match"):
        codes[5]


def test_reports_hold_what_happened(tmp_path):
    plan = make_plan()
    manifest = build(tmp_path, plan, frozenset({2, 4, 5, 6, 7}))
    report = StoredReport.read(tmp_path, 0).report
    assert [reject.path for reject in report.rejects] == ["images/2.jpg"]
    assert StoredReport.read(tmp_path, 1).report.cosine is None
    lines = (tmp_path / "rejects.jsonl").read_text().splitlines()
    assert [json.loads(line)["path"] for line in lines] == ["images/gone.jpg"] + [
        f"images/{row}.jpg" for row in (2, 4, 5, 6, 7)
    ]
    assert (manifest.num_images, manifest.num_records, manifest.num_rejects) == (10, 5, 6)
    assert manifest.kappa == pytest.approx(0.9999)
    assert manifest.cosine.p001 == 0.999 - 2 / 1e4


def test_pending_counts_only_whole_reported_shards_of_this_plan(created):
    root, plan = created
    assert pending_shards(root, plan) == [0, 1, 2]
    for shard in (0, 1, 2):
        write_shard(root, plan, shard, *make_shard(root, plan, shard))
    assert pending_shards(root, plan) == []
    (root / "reports" / "0.json").unlink()
    os.truncate(root / "codes" / "c.1.0.0", 100)
    assert pending_shards(root, plan) == [0, 1]
    assert pending_shards(root, make_plan(dtype="bfloat16")) == [0, 1, 2]


def test_an_unfinished_store_is_not_finished_by_wishing(created):
    root, plan = created
    write_shard(root, plan, 1, *make_shard(root, plan, 1))
    with pytest.raises(
        IncompleteStoreError, match=r"lacks 2 of 3 shards; run the same `viral cache build` again"
    ):
        finish_store(root, plan)
    with pytest.raises(IncompleteStoreError, match=r"unfinished \(1 of 3 shards\)"):
        open_store(root)


def test_a_store_without_any_record_is_not_finished(tmp_path):
    with pytest.raises(
        StoreError, match=r"None of 10 images could be encoded; the reasons are in .*rejects.jsonl"
    ):
        build(tmp_path, make_plan(), frozenset(range(10)))
    assert not (tmp_path / "manifest.json").exists()


def test_what_does_not_belong_to_the_shard_is_refused(created):
    root, plan = created
    codes, report = make_shard(root, plan, 0)
    foreign = make_shard(root, plan, 1, frozenset({5}))[1].rejects
    for bad_codes, bad_report, message in [
        (codes[:3], report, r"\(3, 12, 16\), expected int8 \(4, 12, 16\)"),
        (codes.astype(np.float32), report, "codes float32"),
        (codes, replace(report, shard_id=1), "was given the report"),
        (codes, replace(report, rejects=foreign), "images/5.jpg"),
    ]:
        with pytest.raises(ValueError, match=message):
            write_shard(root, plan, 0, bad_codes, bad_report)
    assert pending_shards(root, plan) == [0, 1, 2]


def test_a_full_disk_leaves_no_trace_and_resumes(created, monkeypatch):
    root, plan = created
    before, writev = snapshot(root), os.writev

    def full(descriptor, views):
        if os.fstat(descriptor).st_size:
            raise OSError(errno.ENOSPC, "No space left on device")
        return writev(descriptor, views[:3])

    monkeypatch.setattr(os, "writev", full)
    with pytest.raises(
        DiskFullError, match=r"is full: the store needs 3.96 kB more, .* are free\. Make room .*; it resumes"
    ):
        write_shard(root, plan, 0, *make_shard(root, plan, 0))
    assert snapshot(root) == before
    monkeypatch.undo()
    build(root, plan)


@pytest.mark.skipif(
    subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode != 0,
    reason="needs user namespaces to mount a small disk",
)
def test_a_really_full_disk(tmp_path):
    script = f"""
        import sys; sys.path.insert(0, {str(REPOSITORY)!r})
        from pathlib import Path
        from stores.errors import DiskFullError
        from tests.stores.builder import build, make_plan, snapshot
        root = Path("disk/store")
        try:
            build(root, make_plan(400, shard_size=40))
        except DiskFullError as error:
            print(error)
        assert not list(root.rglob("*.partial")) and not (root / "manifest.json").exists()
        print(len(list(root.glob("codes/c.*"))))
    """
    (tmp_path / "disk").mkdir()
    (tmp_path / "script.py").write_text(textwrap.dedent(script))
    mount = f"mount -t tmpfs -o size=112k none disk && {sys.executable} script.py && cp -r disk/store kept"
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mount], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    message, shards = done.stdout.splitlines()
    assert message.startswith("The disk of disk/store is full: the store needs ")
    assert 1 <= int(shards) < 10
    plan = make_plan(400, shard_size=40)
    build(tmp_path / "kept", plan)
    build(tmp_path / "whole", plan)
    assert snapshot(tmp_path / "kept") == snapshot(tmp_path / "whole")


@pytest.mark.parametrize("kills", [12, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("store", ["zarr", "webdataset"])
def test_kills_leave_the_same_bytes(tmp_path, kills, store):
    """The builder is killed at random moments until it gets through; every shard it left is whole."""
    plan, root, rng = make_plan(120, shard_size=2, store=store), tmp_path / "killed", random.Random(0)
    build(tmp_path / "whole", plan)
    whole = snapshot(tmp_path / "whole")
    fork, killed = multiprocessing.get_context("fork"), 0
    while killed < kills:
        builder = fork.Process(target=build, args=(root, plan))
        builder.start()
        time.sleep(rng.uniform(0, 0.15))
        os.kill(builder.pid, signal.SIGKILL)
        builder.join()
        killed += builder.exitcode == -signal.SIGKILL
        if root.exists():
            kept = {name: data for name, data in snapshot(root).items() if not name.endswith(".partial")}
            assert kept.items() <= whole.items()
        if (root / "manifest.json").exists():
            shutil.rmtree(root)
    build(root, plan)
    assert snapshot(root) == whole


def test_nothing_of_time_or_place_is_in_the_bytes(tmp_path):
    plan = make_plan()
    build(tmp_path / "here", plan)
    resumed = tmp_path / "a" / "very" / "different" / "place"
    with build_lock(resumed):
        create_store(resumed, plan)
        write_shard(resumed, plan, 2, *make_shard(resumed, plan, 2))
    build(resumed, load_plan(resumed))
    assert snapshot(tmp_path / "here") == snapshot(resumed)
