"""Creating a store: plan last, resumable at every write, never into a folder that is not ours."""

from dataclasses import replace

import pytest

import stores.publish
from stores import build_lock, create_store, load_plan, open_store, repair_store, verify_store
from stores.errors import DamagedStoreError, FingerprintError, MissingStoreError, PlanError
from stores.layout import store_files
from tests.stores.builder import build, make_plan, snapshot


def create(root, plan):
    with build_lock(root):
        create_store(root, plan)


class Killed(BaseException):
    pass


@pytest.fixture
def kill_at(monkeypatch):
    """Die in the n-th publish, after its bytes were written but before it got its name."""

    def arm(countdown):
        sync = stores.publish._sync

        def counted(path):
            nonlocal countdown
            if path.suffix == ".partial":
                countdown -= 1
                if countdown == 0:
                    raise Killed
            sync(path)

        monkeypatch.setattr(stores.publish, "_sync", counted)

    yield arm
    monkeypatch.undo()


def test_a_created_store_is_the_same_everywhere(tmp_path):
    plan = make_plan()
    for name in "ab":
        create(tmp_path / name, plan)
    assert snapshot(tmp_path / "a") == snapshot(tmp_path / "b")
    assert load_plan(tmp_path / "a") == plan


def test_creating_again_changes_nothing(tmp_path):
    plan = make_plan()
    create(tmp_path, plan)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    create(tmp_path, plan)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")} == before


@pytest.mark.parametrize("countdown", range(1, 10))
def test_an_interrupted_creation_resumes(countdown, tmp_path, kill_at):
    plan = make_plan()
    create(tmp_path / "whole", plan)
    assert len(snapshot(tmp_path / "whole")) == 9
    kill_at(countdown)
    with pytest.raises(Killed):
        create(tmp_path / "cut", plan)
    assert not (tmp_path / "cut" / "plan.json").exists()
    kill_at(0)
    create(tmp_path / "cut", plan)
    assert snapshot(tmp_path / "cut") == snapshot(tmp_path / "whole")


def test_an_interrupted_creation_may_become_another_store(tmp_path, kill_at):
    kill_at(9)
    with pytest.raises(Killed):
        create(tmp_path / "store", make_plan(12, codec="int8"))
    kill_at(0)
    plan = make_plan(3, codec="fp16")
    create(tmp_path / "store", plan)
    create(tmp_path / "fresh", plan)
    assert snapshot(tmp_path / "store") == snapshot(tmp_path / "fresh")


@pytest.mark.parametrize(
    ("other", "field"),
    [
        (make_plan(codec="fp16"), "codec: found 'int8', expected 'fp16'"),
        (make_plan(shard_size=5), "shard_size: found 4, expected 5"),
        (make_plan(dtype="bfloat16"), "fingerprint.dtype: found None, expected 'bfloat16'"),
    ],
)
def test_another_fingerprint_is_refused_by_the_field(other, field, tmp_path):
    create(tmp_path, make_plan())
    before = snapshot(tmp_path)
    with pytest.raises(FingerprintError, match=field):
        create(tmp_path, other)
    assert snapshot(tmp_path) == before


def test_other_images_are_refused(tmp_path):
    create(tmp_path, make_plan(10))
    with pytest.raises(PlanError, match=r"other images \(10 then, 11 now\)"):
        create(tmp_path, make_plan(11))
    with pytest.raises(PlanError, match=r"other rejects \(1 then, 0 now\)"):
        create(tmp_path, replace(make_plan(10), rejects=()))


@pytest.mark.parametrize(
    "name",
    [
        "thesis.tex",
        "zarr.json",
        "plan.json",
        "manifest.json",
        "data/a.npy",
        "reports/2024.pdf",
        "logs/run.txt",
        "download.zip.partial",
        "photos/film.mp4.partial",
        "plan.json.7-0123abcd.partial/inside",
    ],
)
def test_a_folder_of_somebody_else_is_left_alone(name, tmp_path):
    """Files are ours by the mark inside them, never by their name; a `plan.json` of the user is not ours."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text('{"zarr_format":3,"node_type":"group","attributes":{}}')
    (tmp_path / "other.partial").write_text("mine")
    before = snapshot(tmp_path)
    with pytest.raises(PlanError, match="not empty and no feature store"):
        create(tmp_path, make_plan())
    for use in (load_plan, open_store, verify_store, repair_store):
        with pytest.raises(MissingStoreError, match="holds no feature store"):
            use(tmp_path)
    assert snapshot(tmp_path) == before
    assert {path.name for path in tmp_path.iterdir()} == {name.split("/")[0], "other.partial"}


def test_repairing_a_misspelt_path_leaves_no_folder(tmp_path):
    with pytest.raises(MissingStoreError, match="does not exist"):
        repair_store(tmp_path / "typo")
    assert not list(tmp_path.iterdir())


def test_a_folder_named_like_a_partial_file_stays(tmp_path):
    build(tmp_path, make_plan())
    (tmp_path / "codes" / "c.9.0.0.7-0123abcd.partial").mkdir()
    (tmp_path / "x.partial").mkdir()
    (tmp_path / "notes.zip.partial").write_text("mine")
    build(tmp_path, make_plan())
    assert (tmp_path / "x.partial").is_dir()
    assert (tmp_path / "notes.zip.partial").read_text() == "mine"


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(PlanError, match="is a file"):
        create(tmp_path / "file", make_plan())


def test_foreign_files_in_our_folders_survive_a_new_creation(tmp_path):
    """Only names that a store itself gives are ever deleted."""
    build(tmp_path, make_plan())
    (tmp_path / "plan.json").unlink()
    (tmp_path / "reports" / "2024.pdf").write_text("mine")
    create(tmp_path, make_plan(3))
    assert (tmp_path / "reports" / "2024.pdf").read_text() == "mine"
    assert not (tmp_path / "reports" / "2.json").exists()


def test_stale_partial_files_are_removed_and_never_trusted(tmp_path):
    plan = make_plan()
    build(tmp_path, plan)
    whole = snapshot(tmp_path)
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "codes" / "c.1.0.0").rename(tmp_path / "codes" / "c.1.0.0.4242-deadbeef.partial")
    (tmp_path / "plan.json.4242-deadbeef.partial").write_text("{")
    build(tmp_path, plan)
    assert snapshot(tmp_path) == whole


def test_a_lost_plan_keeps_the_shards_it_had(tmp_path):
    """Shards name the plan and tables they were made for, so the same plan may adopt them, another may not."""
    plan = make_plan()
    build(tmp_path, plan)
    whole = snapshot(tmp_path)
    flipped = bytearray(whole["plan.json"])
    flipped[100] ^= 1
    (tmp_path / "plan.json").write_bytes(flipped)
    with pytest.raises(DamagedStoreError, match=r"plan.json is damaged.*--repair"):
        load_plan(tmp_path)
    repair_store(tmp_path)
    written = (tmp_path / "codes" / "c.0.0.0").stat().st_ino
    build(tmp_path, plan)
    assert snapshot(tmp_path) == whole
    assert (tmp_path / "codes" / "c.0.0.0").stat().st_ino == written

    (tmp_path / "plan.json").unlink()
    build(tmp_path, make_plan(7, dtype="bfloat16"))
    build(tmp_path.parent / "fresh", make_plan(7, dtype="bfloat16"))
    assert snapshot(tmp_path) == snapshot(tmp_path.parent / "fresh")
    assert "codes/c.2.0.0" not in store_files(tmp_path)
