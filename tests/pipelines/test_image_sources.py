"""What a plan is asked for: several annotation files, folders, tar shards, and folders in disorder."""

import json
import os
from pathlib import Path

import pytest

from pipelines.image_sources import read_source
from tests.data.test_image_files import write_tar
from viral.errors import DataError


def annotate(path: Path, images: list[str | None], first_id: int = 0) -> Path:
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "That."}]
    entries = [
        {"id": str(first_id + number), "conversations": turns} | ({"image": image} if image else {})
        for number, image in enumerate(images)
    ]
    path.write_text(json.dumps(entries))
    return path


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_several_files_are_counted_apart_and_their_images_once(tmp_path):
    first = annotate(tmp_path / "a.json", ["x.jpg", None, "x.jpg", "y.jpg"])
    second = annotate(tmp_path / "b.json", ["y.jpg", "z.jpg"])
    (tmp_path / "b.json").write_text(second.read_text().replace('"id": "1"', '"id": "0"'))
    source = read_source([first, second], tmp_path)
    assert source.paths == ("x.jpg", "y.jpg", "z.jpg")
    assert (source.num_entries, source.num_text_only) == (6, 1)
    counts = [
        (
            count.num_entries,
            count.num_text_only,
            count.num_images,
            count.num_new_images,
            count.num_repeated_ids,
        )
        for count in source.counts
    ]
    assert counts == [(4, 1, 2, 2, 0), (2, 0, 2, 1, 1)]
    assert [count.name for count in source.counts] == [str(first), str(second)]
    assert read_source(first, tmp_path).paths == ("x.jpg", "y.jpg")


def test_a_broken_second_file_names_itself(tmp_path):
    good, broken = annotate(tmp_path / "a.json", ["x.jpg"]), tmp_path / "b.json"
    broken.write_text(good.read_text()[:-20])
    with pytest.raises(DataError, match=r"b.json is not valid JSON: .* in entry 0"):
        read_source([good, broken], tmp_path)


def test_entries_without_an_id_repeat_none(tmp_path):
    path = annotate(tmp_path / "a.json", ["x.jpg", "y.jpg"])
    path.write_text(path.read_text().replace('"id"', '"number"'))
    assert read_source(path, tmp_path).counts[0].num_repeated_ids == 0


def test_a_folder_is_listed_depth_first_sorted_with_its_tar_files(tmp_path):
    root = touch(
        tmp_path / "images", "b.JPG", "a/2.png", "a/10.png", "a/c/x.webp", "notes.txt", ".hidden.gif", ".jpg"
    )
    write_tar(root / "a.tar", {"1.jpg": b"", "1.json": b"", "0.jpg": b""})
    write_tar(root / "b" / "c.tar", {"deep/0.jpg": b""})
    source = read_source(None, root)
    assert source.paths == (
        ".hidden.gif", "a/10.png", "a/2.png", "a/c/x.webp", "a.tar/1.jpg", "a.tar/0.jpg", "b/c.tar/deep/0.jpg", "b.JPG",
    )  # fmt: skip
    assert source.num_entries == 8
    assert source.rejects == ()


def test_links_to_folders_are_not_followed_and_not_forgotten(tmp_path):
    root = touch(tmp_path / "images", "a/1.jpg")
    (root / "a" / "round").symlink_to(root)
    (root / "loop").symlink_to("loop")
    touch(tmp_path / "elsewhere", "2.jpg")
    (root / "elsewhere").symlink_to(tmp_path / "elsewhere")
    assert read_source(None, root).paths == ("a/1.jpg", "a/round", "elsewhere")


def test_names_that_are_no_text_are_names(tmp_path):
    root = touch(
        tmp_path / "images", "line\nbreak.jpg", "caf\udce9.jpg", "\u2028.jpg", "日本.png", "a'\"b.gif"
    )
    assert set(read_source(None, root).paths) == {path.name for path in root.iterdir()}


def test_a_folder_without_permission_is_a_reject_with_its_reason(open_folder, as_nobody):
    root = touch(open_folder / "images", "a/1.jpg", "locked/2.jpg", "locked.tar")
    (root / "locked").chmod(0)
    (root / "locked.tar").chmod(0)
    with as_nobody():
        source = read_source(None, root)
    assert source.paths == ("a/1.jpg",)
    reasons = {reject.path: reject.reason for reject in source.rejects}
    assert reasons == {"locked": "Permission denied", "locked.tar": "Permission denied"}
    root.chmod(0)
    with as_nobody(), pytest.raises(DataError, match=r"holds no image file \('it': Permission denied\)"):
        read_source(None, root)


def many_empty_files(root: Path, number: int) -> None:
    root.mkdir()
    for index in range(number):
        os.close(os.open(root / f"{index:06d}.jpg", os.O_CREAT))


def test_a_folder_of_many_empty_names(tmp_path):
    many_empty_files(tmp_path / "images", 3000)
    paths = read_source(None, tmp_path / "images").paths
    assert (len(paths), paths[0], paths[-1]) == (3000, "000000.jpg", "002999.jpg")


@pytest.mark.slow
def test_a_folder_of_a_hundred_thousand_names_fits_in_little_memory(tmp_path):
    import tracemalloc

    many_empty_files(tmp_path / "images", 100_000)
    tracemalloc.start()
    try:
        assert len(read_source(None, tmp_path / "images").paths) == 100_000
        assert tracemalloc.get_traced_memory()[1] < 100_000 * 1000
    finally:
        tracemalloc.stop()
