"""MME: its layouts, its parser, and pictures whose names come again in other subtasks."""

import shutil
import zipfile

import pytest

from tests.benchmarks import worlds
from viral.benchmarks import get_benchmark, load_items, summarise
from viral.benchmarks.files import fingerprint, require_images
from viral.data.images import decode_image
from viral.errors import DataError

MME = get_benchmark("mme")
ROOT = "MME_Benchmark_release_version"


@pytest.mark.parametrize(
    ("reply", "official", "lmms_eval", "words"),
    [
        ("Yes", "yes", "yes", "yes"),
        ("YES!", "yes", "yes", "yes"),
        ("no.", "no", "no", "no"),
        ("Not at all", "no", "no", None),
        ("none", "no", "no", None),
        ("Eyes", "yes", "yes", None),
        ("I think yes", None, None, "yes"),
        ("unknown", None, None, None),
        ("y", None, "yes", None),
        ("n.", None, "no", None),
        ("", None, None, None),
        ("\n\nyes", None, "yes", "yes"),
        ("yes and no", "yes", "yes", None),
        ("U. no", None, "no", "no"),
    ],
)
def test_rules(reply, official, lmms_eval, words):
    expected = {"official": official, "lmms_eval": lmms_eval, "vlmevalkit": words, "lenient": words}
    expected["strict"] = "yes" if reply.strip() == "Yes" or reply == "\n\nyes" else None
    assert {name: rule(reply, None) for name, rule in MME.rules.items()} == expected


def zipped(folder, path, level: str = ""):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, level + file.relative_to(folder.parent).as_posix())
        archive.writestr("__MACOSX/._existence.txt", "x")
        archive.writestr(f"{level}{ROOT}/eval_tool/LaVIN/existence.txt", "0001.png\tq\tYes\tYes\n")


def as_folder(data):
    return data


def with_a_level(data):
    (data / "inner").mkdir()
    (data / ROOT).rename(data / "inner/MME_Benchmark")
    (data / "inner").rename(data / ROOT)
    (data / ROOT / "MME_Benchmark/counts.json").rename(data / ROOT / "counts.json")
    return data


def own_folder(data):
    return data / ROOT


def other_spelling(data):
    (data / ROOT).rename(data / "MME")
    return data


def as_zip(data):
    zipped(data / ROOT, data / f"{ROOT}.zip")
    shutil.rmtree(data / ROOT)
    return data


def zip_itself(data):
    return as_zip(data) / f"{ROOT}.zip"


def zip_in_its_folder(data):
    zipped(data / ROOT, data / "MME.zip", "extra/")
    shutil.rmtree(data / ROOT)
    (data / ROOT).mkdir()
    (data / "MME.zip").rename(data / ROOT / "MME.zip")
    return data


def as_parquet(data):
    rows, pictures = [], []
    for file in sorted((data / ROOT).rglob("*.txt")):
        subtask = file.relative_to(data / ROOT).parts[0]
        picture = next(iter((data / ROOT / subtask).rglob(f"{file.stem}.[jp]*")))
        for line in file.read_text().splitlines():
            question, answer = line.split("\t")
            key = {"question_id": f"{subtask}/{picture.name}", "category": subtask}
            rows.append(key | {"question": question, "answer": answer})
            pictures.append(picture.read_bytes())
    shutil.rmtree(data / ROOT)
    worlds.write_parquet(data / "MME/data/test-00000-of-00001.parquet", rows, pictures)
    return data


@pytest.mark.parametrize(
    "layout",
    [as_folder, with_a_level, own_folder, other_spelling, as_zip, zip_itself, zip_in_its_folder, as_parquet],
    ids=lambda layout: layout.__name__,
)
def test_layouts_hold_the_same_items(tmp_path, layout):
    expected = load_items(MME, worlds.mme(tmp_path / "a"))
    items = load_items(MME, layout(worlds.mme(tmp_path / "b")), partial=True)
    assert {item.id for item in items} == {item.id for item in expected}
    assert fingerprint(MME, items) == fingerprint(MME, expected)
    require_images(items)
    assert all(decode_image(item.image).size == (40, 30) for item in items)
    assert len({item.image for item in items}) == (12 if layout is as_parquet else 6)
    assert len({hash(item.image) for item in items}) == len({item.image for item in items})


def test_ids_name_subtask_picture_and_line(tmp_path):
    items = load_items(MME, worlds.mme(tmp_path))
    assert [item.id for item in items if item.group == "artwork"] == [
        "artwork/0001.png/0",
        "artwork/0001.png/1",
        "artwork/0002.jpg/0",
        "artwork/0002.jpg/1",
    ]
    assert [item.answer for item in items[:2]] == ["yes", "no"]
    assert len({item.cluster for item in items}) == 6  # 0001.png occurs three times


@pytest.mark.parametrize("suffix", ["", ".png", ".jpg"])
def test_a_pictures_suffix_does_not_matter_in_ids(tmp_path, suffix):
    worlds.write_mme(tmp_path / ROOT, {"OCR": ["0001.png"]}, pictures=False)
    said = {f"OCR/0001{suffix}/0": "Yes", f"OCR/0001{suffix}/1": "No"}
    found = worlds.viral_score("MME", tmp_path, worlds.write_replies(tmp_path / "r.jsonl", said), "--partial")
    assert found["headline"]["value"] == 200.0


def test_both_answers_of_a_picture_must_be_right_for_acc_plus(tmp_path):
    items = load_items(MME, worlds.mme(tmp_path))
    said = {item.id: item.answer for item in items} | {"existence/0001.png/1": "Yes"}
    found = summarise(MME, items, said, "paper")
    assert found["subtasks"]["existence"] == {"acc": 75.0, "acc_plus": 50.0, "score": 125.0}
    assert found["headline"]["value"] == 525.0
    assert (found["perception"], found["cognition"]) == (325.0, 200.0)


def test_one_answer_to_a_picture_is_not_both(tmp_path):
    items = load_items(MME, worlds.mme(tmp_path))
    found = summarise(MME, items, {"existence/0001.png/0": "Yes"}, "paper", partial=True)
    assert found["subtasks"] == {"existence": {"acc": 100.0, "acc_plus": 0.0, "score": 100.0}}


def test_missing_pictures_of_text_files_are_noticed_before_generation(tmp_path):
    worlds.write_mme(tmp_path / ROOT, {"OCR": ["0001.png"]}, pictures=False)
    items = load_items(MME, tmp_path, partial=True)
    with pytest.raises(DataError, match=r"1 images are missing, first .*0001\.txt \(its picture\)"):
        require_images(items)
