"""Loading: the published sizes, declared subsets, and everything that can be wrong with a folder."""

import json
import shutil
from dataclasses import replace

import pytest

from tests.benchmarks import worlds
from viral.benchmarks import BENCHMARKS, get_benchmark, get_profile, load_items, summarise
from viral.benchmarks.files import fingerprint, require_images
from viral.data.images import decode_image
from viral.errors import DataError, UnknownNameError

CVBENCH, POPE = get_benchmark("cvbench"), get_benchmark("pope")


def test_the_published_cvbench_has_1438_items(tmp_path):
    worlds.write_lines(tmp_path / "cvbench/test_2d.jsonl", worlds.cvbench_rows(788, 650))
    items = load_items(CVBENCH, tmp_path)
    assert len(items) == 1438
    assert items[0].image == tmp_path / "cvbench/img/2D/0.png"
    assert {item.chance for item in items} == {1 / 4, 1 / 3, 1 / 2}


@pytest.mark.parametrize("num_random", [2910, 3000])
def test_both_published_popes(tmp_path, num_random):
    for split, size in (("random", num_random), ("popular", 3000), ("adversarial", 3000)):
        worlds.write_lines(tmp_path / f"POPE/pope_{split}.jsonl", worlds.pope_rows(size, split))
    items = load_items(POPE, tmp_path)
    assert len(items) == num_random + 6000
    assert items[0].id == "random/1"
    assert items[-1].id == "adversarial/3000"
    assert items[0].image == tmp_path / "COCO2014/val2014/COCO_val2014_000000000000.jpg"


def released_pope(tmp_path):
    """The release's own layout: no adversarial split, nothing declared."""
    for split in ("random", "popular"):
        worlds.write_lines(tmp_path / f"POPE/pope_{split}.jsonl", worlds.pope_rows(3000, split))
    return tmp_path


def test_the_paper_profile_does_without_the_adversarial_split(tmp_path):
    items = load_items(POPE, released_pope(tmp_path), "paper")
    assert [len([item for item in items if item.group == split]) for split in POPE.counts] == [3000, 3000, 0]
    scores = summarise(POPE, items, {item.id: item.answer for item in items}, "paper")
    assert scores["headline"]["value"] == 100.0
    assert list(scores["splits"]) == ["random", "popular"]
    assert scores["published_size"]


def test_an_optional_split_that_is_there_must_be_complete(tmp_path):
    path = released_pope(tmp_path) / "POPE/pope_adversarial.jsonl"
    worlds.write_lines(path, worlds.pope_rows(2999, "adversarial"))
    with pytest.raises(DataError, match="2999 items in group 'adversarial', expected 3000"):
        load_items(POPE, tmp_path, "paper")


def test_the_clean_profile_needs_all_three_splits(tmp_path):
    with pytest.raises(DataError, match=r"No file .*pope_adversarial\.jsonl"):
        load_items(POPE, released_pope(tmp_path), "clean")


def test_a_split_of_the_headline_is_never_optional(tmp_path):
    (released_pope(tmp_path) / "POPE/pope_popular.jsonl").unlink()
    with pytest.raises(DataError, match=r"No file .*pope_popular\.jsonl"):
        load_items(POPE, tmp_path, "paper")


def test_another_size_is_refused_unless_the_folder_declares_it(tmp_path):
    worlds.cvbench(tmp_path)
    assert len(load_items(CVBENCH, tmp_path)) == 10
    (tmp_path / "cvbench/counts.json").unlink()
    with pytest.raises(DataError, match=r"6 items in group 'count', expected 788.*counts\.json"):
        load_items(CVBENCH, tmp_path)


def test_a_declared_subset_must_be_complete_too(tmp_path):
    worlds.cvbench(tmp_path)
    path = tmp_path / "cvbench/test_2d.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(DataError, match="3 items in group 'relation', expected 4"):
        load_items(CVBENCH, tmp_path)


def test_a_subset_may_leave_out_a_split(tmp_path):
    worlds.pope(tmp_path)
    (tmp_path / "POPE/pope_adversarial.jsonl").unlink()
    (tmp_path / "POPE/counts.json").write_text('{"popular": 4, "random": 6}')
    assert [item.group for item in load_items(POPE, tmp_path)] == ["random"] * 6 + ["popular"] * 4


@pytest.mark.parametrize("text", ["[]", "{}", '{"count": 0}', '{"count": true}', '{"random": 3}', "{"])
def test_counts_must_be_items_per_group(tmp_path, text):
    worlds.cvbench(tmp_path)
    (tmp_path / "cvbench/counts.json").write_text(text)
    with pytest.raises(DataError, match=r"counts\.json"):
        load_items(CVBENCH, tmp_path)


def broken_row(tmp_path, benchmark, **changes):
    """The benchmark with its second row changed; a field set to `...` is removed."""
    path = {"cvbench": "cvbench/test_2d.jsonl", "pope": "POPE/pope_random.jsonl"}[benchmark]
    {"cvbench": worlds.cvbench, "pope": worlds.pope}[benchmark](tmp_path)
    rows = [json.loads(line) for line in (tmp_path / path).read_text().splitlines()]
    rows[1] = {name: value for name, value in (rows[1] | changes).items() if value is not ...}
    worlds.write_lines(tmp_path / path, rows)
    return load_items(get_benchmark(benchmark), tmp_path)


@pytest.mark.parametrize(
    ("benchmark", "changes", "message"),
    [
        ("cvbench", {"answer": "(E)"}, r"line 2: answer '\(E\)'; expected \(A\) to \(C\)"),
        ("cvbench", {"answer": "left"}, "answer 'left'"),
        ("cvbench", {"task": "Depth"}, "line 2: task 'depth'; expected one of count, relation"),
        ("cvbench", {"prompt": ...}, "line 2 has no field 'prompt'; it holds idx, "),
        ("cvbench", {"choices": "3, 1"}, "choices is str"),
        ("cvbench", {"choices": []}, "answer"),
        ("cvbench", {"choices": ["x"] * 27}, "27 choices"),
        ("cvbench", {"idx": 0}, r"1 ids occur twice.*'0'"),
        ("cvbench", {"filename": "../../secret.png"}, "leaves the image root"),
        ("cvbench", {"filename": "/etc/passwd"}, "leaves the image root"),
        ("pope", {"label": "Yes"}, "line 2: label 'Yes'; expected 'yes' or 'no'"),
        ("pope", {"question_id": 1}, r"1 ids occur twice.*'random/1'"),
        ("pope", {"image": ...}, "no field 'image'"),
        ("pope", {"text": None}, "text is NoneType"),
    ],
)
def test_a_broken_row_is_named(tmp_path, benchmark, changes, message):
    with pytest.raises(DataError, match=message):
        broken_row(tmp_path, benchmark, **changes)


def test_a_truncated_file_is_named(tmp_path):
    worlds.pope(tmp_path)
    path = tmp_path / "POPE/pope_popular.jsonl"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(DataError, match=r"pope_popular\.jsonl line 4 is not valid JSON"):
        load_items(POPE, tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"\n\n", b"\xff\xfe", b"[1]\n"])
def test_a_file_that_is_no_benchmark(tmp_path, content):
    worlds.cvbench(tmp_path)
    path = tmp_path / "cvbench/test_2d.jsonl"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(DataError, match=r"test_2d\.jsonl"):
        load_items(CVBENCH, tmp_path)


def test_missing_pictures_are_counted_before_anything_is_generated(tmp_path):
    items = load_items(CVBENCH, worlds.cvbench(tmp_path))
    require_images(items)
    (tmp_path / "cvbench/img/2D/3.png").unlink()
    with pytest.raises(DataError, match=r"1 images are missing, first .*3\.png"):
        require_images(items)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(
        UnknownNameError, match=r"Unknown benchmark 'gqa'\. Known: cvbench, mme, mmstar, mmvp, pope, whatsup"
    ):
        get_benchmark("gqa")
    with pytest.raises(UnknownNameError, match=r"Unknown evaluation profile 'release'\. Known: clean, paper"):
        get_profile("release")


def test_names_are_known_in_any_spelling():
    spellings = {
        "cvbench": ["CV-Bench", "cvbench2d", "cv_bench_2d", "CV-Bench 2D"],
        "mmvp": ["MMVP"],
        "whatsup": ["What's Up", "whats_up", "WhatsUp", "AdaptVis"],
        "pope": ["POPE"],
        "mmstar": ["MMStar", "mm-star"],
        "mme": ["MME", "MME_Benchmark_release_version"],
    }
    for name, others in spellings.items():
        assert {get_benchmark(other).name for other in others} == {name}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_data_may_be_the_benchmarks_own_folder_or_another_spelling_of_it(tmp_path, name):
    data = worlds.WRITERS[name](tmp_path / "data")
    folder = BENCHMARKS[name].folder
    expected = [item.id for item in load_items(BENCHMARKS[name], data)]
    assert [item.id for item in load_items(BENCHMARKS[name], data / folder)] == expected
    (data / folder).rename(data / name.upper())
    assert [item.id for item in load_items(BENCHMARKS[name], data)] == expected


def test_counts_lie_in_the_benchmarks_folder_whatever_is_below_it(tmp_path):
    """A level between, or the zip, bears one of MME's names, too."""
    data, folder = worlds.mme(tmp_path / "data"), BENCHMARKS["mme"].folder
    expected = [item.id for item in load_items(BENCHMARKS["mme"], data)]
    subtasks = [path for path in (data / folder).iterdir() if path.is_dir()]
    between = data / folder / "MME_Benchmark"
    between.mkdir()
    for path in subtasks:
        path.rename(between / path.name)
    for given in (data, data / folder):
        assert [item.id for item in load_items(BENCHMARKS["mme"], given)] == expected
    shutil.make_archive(str(data / folder / folder), "zip", between)
    shutil.rmtree(between)
    for given in (data, data / folder):
        assert [item.id for item in load_items(BENCHMARKS["mme"], given)] == expected


@pytest.mark.parametrize("name", BENCHMARKS)
def test_counts_are_an_error_unless_declared_or_partial(tmp_path, name):
    data, benchmark = worlds.WRITERS[name](tmp_path), BENCHMARKS[name]
    items = load_items(benchmark, data)
    (data / benchmark.folder / "counts.json").unlink()
    with pytest.raises(DataError, match=r"items in group '.*', expected \d+|No file") as caught:
        load_items(benchmark, data)
    assert "\n" not in str(caught.value)
    some = load_items(benchmark, data, partial=True)
    assert some == items
    scores = summarise(benchmark, some, {item.id: item.answer for item in some}, "paper", partial=True)
    assert not scores["published_size"]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_nothing_there(tmp_path, name):
    for partial in (False, True):
        with pytest.raises(DataError, match=rf"No file {tmp_path}/{BENCHMARKS[name].folder}/.*--data"):
            load_items(BENCHMARKS[name], tmp_path, partial=partial)


@pytest.mark.parametrize(
    "layout", ["pope_{}.jsonl", "coco_pope_{}.json", "coco_pope_{}.jsonl", "coco/coco_pope_{}.json"]
)
def test_names_of_popes_files(tmp_path, layout):
    for split in ("random", "popular"):
        worlds.write_lines(tmp_path / "POPE" / layout.format(split), worlds.pope_rows(3000, split))
    assert len(load_items(POPE, tmp_path)) == 6000


def test_cvbench_as_a_table_with_its_pictures(tmp_path):
    rows = worlds.cvbench_rows(6, 4)
    worlds.write_lines(tmp_path / "a/cvbench/test_2d.jsonl", rows)
    for row in rows:
        del row["image"]
    worlds.write_parquet(tmp_path / "b/CV-Bench/test_2d.parquet", rows)
    lines, table = (load_items(CVBENCH, tmp_path / side, partial=True) for side in "ab")
    assert fingerprint(CVBENCH, lines) == fingerprint(CVBENCH, table)
    require_images(table)
    assert decode_image(table[7].image).getpixel((0, 0)) == (7, 0, 0)


@pytest.mark.parametrize("changes", [{"source": None}, {"source": ""}, {}])
def test_without_their_sources_items_have_no_mean_over_sources(tmp_path, changes):
    rows = worlds.cvbench_rows(6, 4)
    rows[3] = {name: value for name, value in rows[3].items() if name != "source"} | changes
    worlds.write_lines(worlds.cvbench(tmp_path) / "cvbench/test_2d.jsonl", rows)
    items = load_items(CVBENCH, tmp_path)
    said = {item.id: item.answer for item in items}
    assert summarise(CVBENCH, items, said, "clean")["headline"]["value"] is None
    assert summarise(CVBENCH, items, said, "paper")["headline"]["value"] == 100.0


def test_a_fingerprint_knows_questions_and_answers_not_order(tmp_path):
    items = load_items(POPE, worlds.pope(tmp_path))
    assert fingerprint(POPE, items) == fingerprint(POPE, items[::-1])
    changed = replace(items[0], answer="no")
    assert fingerprint(POPE, items)["popular"] == fingerprint(POPE, [changed, *items[1:]])["popular"]
    assert fingerprint(POPE, items)["random"] != fingerprint(POPE, [changed, *items[1:]])["random"]
