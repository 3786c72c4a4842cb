"""The index of annotation files gives what reading them whole gives, in any process, and notices changes."""

import json
import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from viral.data import json_stream
from viral.data.annotations import read_annotations
from viral.data.index import AnnotationIndex, scan
from viral.errors import DataError

TEXT = st.text(alphabet='aé中😀\u2028"\\{}[], \n\r\t', max_size=12)
NAMES = st.lists(st.text(alphabet="aé/.\ud800", min_size=1, max_size=4), max_size=3)


@st.composite
def entries(draw):
    images, answers = draw(NAMES), draw(st.lists(TEXT, min_size=1, max_size=3))
    conversations = []
    for turn, answer in enumerate(answers):
        tags = "<image>" * len(images) if turn == 0 else ""
        conversations += [
            {"from": "human", "value": tags + draw(TEXT)},
            {"from": "gpt", "value": answer},
        ]
    image = {"image": images[0] if len(images) == 1 and draw(st.booleans()) else images} if images else {}
    return {"id": draw(TEXT), **image, "conversations": conversations}


@st.composite
def files(draw):
    """(bytes, suffix) of an annotation file, with spaces, marks and line ends as other programs write them."""
    found = draw(st.lists(entries(), min_size=1, max_size=6))
    texts = [json.dumps(entry, ensure_ascii=draw(st.booleans())) for entry in found]
    end = draw(st.sampled_from(["\n", "\r\n", "\n\n", "\n \t\n"]))
    start = draw(st.sampled_from([b"", json_stream.BOM]))
    if draw(st.booleans()):
        return start + end.join(texts).encode("utf-8", "replace") + b"\n", ".jsonl"
    return start + f" [ {f' ,{end}'.join(texts)}{end}] ".encode("utf-8", "replace"), ".json"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(files(), st.sampled_from([1 << 20, 7, 64]))
def test_samples_on_demand_equal_those_of_the_whole_file(tmp_path_factory, file, chunk):
    data, suffix = file
    path = tmp_path_factory.mktemp("index") / f"a{suffix}"
    path.write_bytes(data)
    whole = read_annotations(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "CHUNK_CHARS", chunk)
        index = AnnotationIndex([scan(path)])
    assert list(index) == whole
    assert index.num_words.tolist() == [sample.num_words for sample in whole]
    assert index.num_images.tolist() == [len(sample.images) for sample in whole]
    assert index.image_names() == {name for sample in whole for name in sample.images}
    assert index.num_unanswered == sum(not any(a for _, a in sample.turns) for sample in whole)


def write(path: Path, count: int, prefix: str = "") -> Path:
    rows = [
        {
            "id": f"{prefix}{number}",
            **({"image": [f"{number // 2}.png", "é.png"][: 1 + (number == 3)]} if number % 3 != 2 else {}),
            "conversations": [
                {"from": "human", "value": "<image>" * (number % 3 != 2) + "<image>" * (number == 3)},
                {"from": "gpt", "value": f"{number}"},
            ],
        }
        for number in range(count)
    ]
    path.write_text(json.dumps(rows))
    return path


@pytest.fixture
def index(tmp_path: Path) -> AnnotationIndex:
    return AnnotationIndex(
        [scan(write(tmp_path / "a.json", 7, "a")), scan(write(tmp_path / "b.json", 4, "b"))]
    )


def test_several_files_follow_one_another(index):
    assert [sample.id for sample in index] == [f"a{n}" for n in range(7)] + [f"b{n}" for n in range(4)]
    assert index[10].id == "b3"
    assert index[-1].id == "b3"


def test_leaving_out_images_leaves_out_their_samples_in_every_file(index):
    kept = index.without_images({"1.png"})
    assert [sample.id for sample in kept] == ["a0", "a1", "a2", "a4", "a5", "a6", "b0", "b1", "b2"]
    assert len(kept.num_words) == len(kept) == 9
    assert [sample.id for sample in kept.without_images({"0.png"})] == ["a2", "a4", "a5", "a6", "b2"]
    assert "a3" not in {sample.id for sample in index.without_images({"é.png"})}


def ids(index: AnnotationIndex, numbers: list[int]) -> list[str]:
    return [index[number].id for number in numbers]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_it_too(index, method):
    expected = ids(index, [9, 0, 5])  # the parent has read before it forks
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.starmap(ids, [(index, [9, 0, 5])] * 4) == [expected] * 4


def test_it_is_a_few_bytes_a_sample(tmp_path: Path):
    index = AnnotationIndex([scan(write(tmp_path / "a.json", 3000))])
    assert len(pickle.dumps(index)) < 60 * 3000


def test_a_file_that_changes_is_noticed(index, tmp_path: Path):
    write(tmp_path / "b.json", 4, "c")
    assert index[0].id == "a0"
    with pytest.raises(DataError, match=r"b.json has been changed since this run read it through"):
        index[8]
    (tmp_path / "b.json").unlink()
    with pytest.raises(DataError, match=r"cannot read .*b.json: No such file"):
        index[8]


@pytest.mark.parametrize(
    ("number", "entry", "message"),
    [
        (2, '{"id": 1}', "entry 2 has no 'conversations' list"),
        (0, '{"conversations": "x"}', "entry 0 has no 'conversations' list"),
        (4, "[1, 2", "entry 4"),
        (3, '{"conversations": [{"from": "human", "value": 3}]}', "entry 3: a turn is not"),
    ],
)
@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_a_broken_entry_is_named_by_number(tmp_path: Path, number, entry, message, suffix):
    rows = [json.dumps(row) for row in json.loads(write(tmp_path / "good.json", 5).read_text())]
    rows[number] = entry
    path = tmp_path / f"bad{suffix}"
    path.write_text("\n".join(rows) if suffix == ".jsonl" else f"[{','.join(rows)}]")
    with pytest.raises(DataError, match=message) as caught:
        scan(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_an_empty_one(tmp_path: Path):
    with pytest.raises(DataError, match=r"No annotation file at .*--data"):
        scan(tmp_path / "none.json")
    (tmp_path / "empty.json").write_text("[]")
    with pytest.raises(DataError, match="no list of conversations"):
        scan(tmp_path / "empty.json")


def test_text_only_files_have_no_names(tmp_path: Path):
    turns = [{"from": "human", "value": "a b"}, {"from": "gpt", "value": "c"}]
    (tmp_path / "a.json").write_text(json.dumps([{"conversations": turns}]))
    index = AnnotationIndex([scan(tmp_path / "a.json")])
    assert index.image_names() == set()
    assert np.array_equal(index.without_images({"x"}).rows, [0])
