"""LLaVA's annotation format: what is accepted, and what each mistake says."""

import json
from pathlib import Path

import pytest

from viral.data.annotations import Sample, read_annotations, resolve_image
from viral.errors import DataError, ImageError

ENTRY = {
    "id": "1",
    "image": "coco/a.jpg",
    "conversations": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A cat."}],
}


def write(folder: Path, entries, name="a.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(entries))
    return path


def test_json_and_jsonl_read_alike(tmp_path: Path):
    lines = tmp_path / "a.jsonl"
    lines.write_text(f"{json.dumps(ENTRY)}\n\n{json.dumps(ENTRY)}\n")
    assert read_annotations(lines) == read_annotations(write(tmp_path, [ENTRY, ENTRY]))


def test_text_only_leading_answer_and_open_question(tmp_path: Path):
    turns = [
        {"from": "gpt", "value": "Hello"},
        {"from": "human", "value": "one two"},
        {"from": "gpt", "value": "three"},
        {"from": "human", "value": "never answered"},
    ]
    (sample,) = read_annotations(write(tmp_path, [{"id": 7, "model": "", "conversations": turns}]))
    assert sample == Sample("7", (), (("one two", "three"),))
    assert sample.num_words == 3


def test_without_an_image_the_tag_is_text(tmp_path: Path):
    (sample,) = read_annotations(write(tmp_path, change(image=None)))
    assert sample.images == ()
    assert "<image>" in sample.turns[0][0]


def test_several_images_in_the_order_of_their_tags(tmp_path: Path):
    turns = [
        {"from": "human", "value": "<image> or <image>?"}, {"from": "gpt", "value": "The first."},
        {"from": "human", "value": "And <image>"}, {"from": "gpt", "value": "No."},
    ]  # fmt: skip
    (sample,) = read_annotations(write(tmp_path, change(image=["a", "b", "a"], conversations=turns)))
    assert sample.images == ("a", "b", "a")


def test_a_tag_in_a_question_that_is_not_used_does_not_count(tmp_path: Path):
    turns = [*ENTRY["conversations"], {"from": "human", "value": "And <image>?"}]
    (sample,) = read_annotations(write(tmp_path, change(conversations=turns)))
    assert len(sample.turns) == 1


def change(**changes):
    return [{**ENTRY, **changes}]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"a": 1}, "no list of conversations"),
        ([], "no list of conversations"),
        ([3], "no 'conversations' list"),
        (change(conversations=None), "no 'conversations' list"),
        (change(image=["a", "b"]), "1 <image> tags for 2 images"),
        (change(image=["a", 1]), "'image' is list of int, str"),
        (change(image={"path": "a"}), "'image' is dict"),
        (
            change(conversations=[{"from": "human", "value": "<image>"}, {"from": "gpt", "value": 3}]),
            "a turn is not",
        ),
        (change(conversations=[{"from": "human"}, {"from": "gpt", "value": "y"}]), "a turn is not"),
        (
            change(conversations=[{"from": "human", "value": "x"}, {"from": "gpt", "value": "y"}]),
            "0 <image> tags for one image",
        ),
        (change(conversations=[{"from": "user", "value": "x"}]), "a turn is not"),
        (change(conversations=[{"from": "human", "value": "<image>"}] * 2), "do not alternate"),
        (change(conversations=[{"from": "human", "value": "<image>"}]), "no question with an answer"),
    ],
)
def test_each_mistake_says_what_was_found(tmp_path: Path, entries, message):
    with pytest.raises(DataError, match=message):
        read_annotations(write(tmp_path, entries))


def test_missing_and_broken_files(tmp_path: Path):
    with pytest.raises(DataError, match="--data"):
        read_annotations(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("[{")
    with pytest.raises(DataError, match="not valid JSON"):
        read_annotations(tmp_path / "bad.json")
    (tmp_path / "bin.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not valid JSON"):
        read_annotations(tmp_path / "bin.json")


def test_images_stay_inside_the_root(tmp_path: Path):
    root = tmp_path / "images"
    (root / "coco").mkdir(parents=True)
    (root / "coco" / "a.jpg").touch()
    (root / "out").symlink_to(tmp_path)
    assert resolve_image(root, "coco/../coco/a.jpg") == root.resolve() / "coco/a.jpg"
    for path in ("../a.jpg", "/etc/passwd", "out/a.jpg", str(root / "coco/a.jpg")):
        with pytest.raises(ImageError, match="leaves the image root"):
            resolve_image(root, path)
