"""The shopping list: complete on an empty machine, shorter as things arrive, and nothing written."""

import json

import pytest

from cli.main import main
from pipelines.reproduce.checklist import check_needs
from pipelines.reproduce.downloads import LLAVA_665K, WEIGHT_BYTES
from pipelines.reproduce.graph import plan_graph
from pipelines.reproduce.paper import BENCHMARKS
from pipelines.reproduce.presence import whole_model
from pipelines.reproduce.story import carry_out, plan
from viral.errors import ConfigError


@pytest.fixture
def empty_machine(monkeypatch, tmp_path):
    """A working directory and a hub's cache with nothing in them."""
    folder = tmp_path / "machine"
    folder.mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(folder)
    return folder


def shop(capsys, monkeypatch, *words) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["viral", "reproduce", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    said = capsys.readouterr()
    return int(stop.value.code or 0), said.out, said.err


def test_an_empty_machine_gets_the_whole_list_and_nothing_is_written(empty_machine, capsys, monkeypatch):
    code, out, err = shop(capsys, monkeypatch, "table1", "--scale", "full")
    assert code == 2
    assert err == ""
    assert "commands for data and benchmarks are to be typed in playground\n" in out
    for name in ("lmsys/vicuna-7b-v1.5", "lmsys/vicuna-13b-v1.5", "Qwen/Qwen2.5-7B-Instruct"):
        assert f"hf download {name}" in out
    for part in LLAVA_665K:
        assert part.name in out
        assert part.get[0] in out
    for name in ("LLaVA-Pretrain", "CV-Bench", "MMVP", "AdaptVis", "POPE", "MMStar", "MME", "GPU"):
        assert name in out
    assert "timm/vit_base_patch14_dinov2.lvd142m" in out
    assert "13.5 GB" in out
    assert list(empty_machine.iterdir()) == []


def test_the_list_as_json_and_without_starting(empty_machine, capsys, monkeypatch):
    code, out, _ = shop(capsys, monkeypatch, "table2", "--scale", "full", "--check", "--json")
    needs = json.loads(out)
    assert code == 2
    hub = {need["name"] for need in needs if need["kind"] == "weights"}
    assert {"timm/samvit_base_patch16.sa1b", "depth-anything/Depth-Anything-V2-Base", "nvidia/RADIO-B"} <= hub
    assert hub <= WEIGHT_BYTES.keys()
    assert all(need["get"] for need in needs if need["kind"] in ("weights", "data", "benchmark"))
    assert "--check" in shop(capsys, monkeypatch, "table2", "--json")[2]


def test_every_download_of_every_table_has_a_size(request_of):
    for number in (1, 2, 4, 5, 6):
        request = request_of(f"table{number}", "full", with_release=True)
        needs = check_needs(request, plan_graph(request), ())
        for need in needs:
            assert need.num_bytes or need.kind in ("device", "program"), need
        assert {need.name for need in needs if need.kind == "benchmark"} != set()
    assert BENCHMARKS.keys() >= set(request.target.benchmarks)


def test_the_micro_world_lacks_nothing(request_of):
    assert plan(request_of("table1")).missing == []


def test_what_has_been_fetched_is_here(request_of, tmp_path):
    world = tmp_path / "playground"
    (world / "llava-665k/coco/train2017").mkdir(parents=True)
    request = request_of("table4", "full")

    def here() -> dict[str, bool]:
        return {need.name: need.is_here for need in check_needs(request, plan_graph(request), ())}

    assert not here()["COCO train2017"]  # an empty folder holds no pictures
    (world / "llava-665k/coco/train2017/000000000009.jpg").touch()
    assert here()["COCO train2017"]
    assert not here()["LLaVA-665K annotations"]


def test_a_launcher_that_is_not_there_is_named(request_of):
    request = request_of("table1")
    (need,) = [
        need
        for need in check_needs(request, plan_graph(request), ["no-such-launcher"])
        if need.kind == "program"
    ]
    assert not need.is_here


def test_a_model_is_whole_with_all_shards_of_its_index(tmp_path):
    assert whole_model("nobody/nothing") is None
    assert whole_model("no id at all!") is None
    folder = tmp_path / "model"
    folder.mkdir()
    assert whole_model(str(folder)) is None
    shards = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    (folder / "model-1.safetensors").touch()
    assert whole_model(str(folder)) is None
    (folder / "model-2.safetensors").touch()
    assert whole_model(str(folder)) == folder
    assert whole_model(str(folder), "sam.pth") is None
    assert whole_model(str(folder / "model-1.safetensors")) == folder / "model-1.safetensors"


def test_a_root_of_something_else_or_that_cannot_be_written_is_refused(request_of, tmp_path):
    root = tmp_path / "thesis"
    root.mkdir()
    (root / "thesis.tex").write_text("precious")
    with pytest.raises(ConfigError, match="holds no reproduction of ours"):
        carry_out(plan(request_of("table1", root=root)), (), print)
    assert [path.name for path in root.iterdir()] == ["thesis.tex"]
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"File exists|Not a directory"):
        carry_out(plan(request_of("table1", root=tmp_path / "file/root")), (), print)
    (root / "thesis.tex").unlink()
    (root / "reproduction.json").write_text('{"scale":"full"}')
    with pytest.raises(ConfigError, match="another scale or version"):
        carry_out(plan(request_of("table1", root=root)), (), print)
