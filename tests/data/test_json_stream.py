"""Large annotation files one value at a time: the same values as `json.loads`, and one line for each kind of damage."""

import json
import tracemalloc
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from viral.data import json_stream
from viral.data.annotations import iter_annotations
from viral.data.json_stream import json_entries
from viral.errors import DataError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def json_values(path):
    return (entry.value for entry in json_entries(path))


@settings(deadline=None, max_examples=60)
@given(st.lists(VALUES, max_size=8), st.integers(1, 40), st.booleans(), st.sampled_from([None, 0, 3]))
def test_a_list_reads_like_json_loads_wherever_the_chunks_end(
    tmp_path_factory, values, chunk, ascii_, indent
):
    path = tmp_path_factory.getbasetemp() / "list.json"
    path.write_text(json.dumps(values, ensure_ascii=ascii_, indent=indent), "utf-8")
    with patch.object(json_stream, "CHUNK_CHARS", chunk):
        assert list(json_values(path)) == values


@settings(deadline=None, max_examples=30)
@given(st.lists(VALUES, min_size=1, max_size=4))
def test_lines_read_like_a_list(tmp_path_factory, values):
    path = tmp_path_factory.getbasetemp() / "lines.jsonl"
    path.write_text("\n\n".join(map(json.dumps, values)) + "\n")
    first = json.dumps(values[0])
    if first.startswith("["):  # a list is a list, whatever its file is called
        path.write_text(json.dumps(values))
    assert list(json_values(path)) == values


@pytest.mark.parametrize("cut", [1, 10, 60, 118])
def test_a_file_cut_short_names_the_entry(tmp_path, cut):
    text = json.dumps([{"id": str(number), "text": "cut me"} for number in range(4)])
    (tmp_path / "a.json").write_text(text[:-cut])
    found = []
    with pytest.raises(DataError, match=r"not valid JSON: .* in entry \d; the file is damaged or cut short"):
        found.extend(json_values(tmp_path / "a.json"))
    assert found == json.loads(text)[: len(found)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected '\\[', found 'nothing'"),
        (b'{"images": []}', "no list of conversations: expected '\\[', found '{'.*name it .jsonl"),
        (b'[{"id": 1} {"id": 2}]', "found '{' where ',' or ']' should be, in entry 1"),
        (b'[{"id": 1}] [', "found '\\[' after the closing"),
        (b'[{"id": 1},]', "not valid JSON"),
        (b"[" + b"[" * 100_000, "nested too deeply"),
        (b"[" + b"9" * 5000 + b"]", "not valid JSON"),
        (b'["caf\xe9"]', "not valid JSON: 'utf-8' codec"),
        ("[1]".encode("utf-16"), "not valid JSON: 'utf-8' codec"),
    ],
)
def test_other_content_is_one_clear_line(tmp_path, content, message):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        list(json_values(tmp_path / "a.json"))
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf[1, 2]")
    assert list(json_values(tmp_path / "a.json")) == [1, 2]


def test_a_broken_value_is_not_searched_for_to_the_end_of_the_file(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('["' + "never closed " * 10_000)
    with patch.multiple(json_stream, CHUNK_CHARS=1000, MAX_VALUE_CHARS=5000), path.open() as file:
        with pytest.raises(ValueError, match="Unterminated"):
            list(json_stream._entries(file, path, 0))
        assert len(file.read()) > 100_000


def test_memory_does_not_grow_with_the_file(tmp_path):
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "word " * 300}]
    entry = json.dumps({"id": "1", "image": "a.jpg", "conversations": turns})
    path = tmp_path / "a.json"
    path.write_text("[" + ",\n".join([entry] * 8000) + "]")
    assert path.stat().st_size > 12_000_000
    tracemalloc.start()
    try:
        assert sum(1 for _ in iter_annotations(path)) == 8000
        assert tracemalloc.get_traced_memory()[1] < 7_000_000
    finally:
        tracemalloc.stop()
