"""Which commands a target is made of, and in which order."""

from pathlib import Path

import pytest

from pipelines.recipes import RECIPES, get_recipe
from pipelines.reproduce.graph import plan_graph
from pipelines.reproduce.scales import NoCounterpartError, micro_run
from pipelines.reproduce.targets import TARGETS
from pipelines.training.config import parse_overrides, with_overrides
from viral.errors import ConfigError, UnknownNameError

OUTPUT = {
    "cache": "--out",
    "train": "--output",
    "pretrain": "--output",
    "export": "--out",
    "eval": "--output",
}
INPUTS = ("--cache", "--run", "--model", "--baseline")


def named(graph) -> list[str]:
    return [step.name for step in graph.steps]


def values_of(words, flag) -> list[str]:
    return [words[index + 1] for index, word in enumerate(words) if word == flag]


def rows_twice(target: str) -> dict:
    """Two seeds and the release's row, where there are rows."""
    return {"seeds": 2, "with_release": True} if TARGETS[target].rows else {}


@pytest.mark.parametrize("scale", ["micro", "full"])
@pytest.mark.parametrize("target", TARGETS)
def test_every_step_comes_after_what_it_reads(request_of, target, scale):
    request = request_of(target, scale, **rows_twice(target))
    root, made = request.place.root, set()
    graph = plan_graph(request)
    assert len(set(named(graph))) == len(graph.steps)
    for step in graph.steps:
        read = [path.rpartition("=")[2] for flag in INPUTS for path in values_of(step.words, flag)]
        read += [
            word.partition("=")[2] for word in step.words if word.startswith(("model.projector=", "data."))
        ]
        ours = {Path(path) for path in read if Path(path).is_absolute() and Path(path).is_relative_to(root)}
        for path in ours:
            assert any(path.is_relative_to(folder) for folder in made), f"{step.name} reads {path} too early"
        made.add(step.output)


@pytest.mark.parametrize("target", TARGETS)
def test_training_commands_are_settings_that_their_recipes_take(request_of, target):
    for scale in ("micro", "full"):
        for step in plan_graph(request_of(target, scale, **rows_twice(target))).steps:
            if step.is_training:
                (recipe,) = values_of(step.words, "--recipe")
                overrides = parse_overrides([word for word in step.words if "=" in word])
                config = with_overrides(get_recipe(recipe), overrides)
                assert config.name == step.output.name


def test_table_1_of_the_micro_world_is_two_runs(request_of):
    graph = plan_graph(request_of("table1"))
    assert named(graph) == [
        "draw the micro-world",
        "train micro-baseline", "export micro-baseline", "evaluate micro-baseline",
        "cache micro", "train micro-viral", "export micro-viral", "evaluate micro-viral",
    ]  # fmt: skip
    (note,) = graph.left_out
    assert note.startswith("llava15_7b_siglip2_baseline, llava15_7b_siglip2_viral, qwen25_7b_baseline")
    assert note.endswith(": the micro-world has one language model and one vision tower")


def test_table_1_at_full_size_trains_two_projectors_and_eight_models(request_of):
    names = named(plan_graph(request_of("table1", "full")))
    assert len([name for name in names if name.startswith("pretrain")]) == 2
    assert len([name for name in names if name.startswith("train")]) == 8
    assert names.count("cache dinov2") == 1


def test_seeds_add_runs_and_keep_the_first(request_of):
    one, two = (plan_graph(request_of("table1", seeds=seeds)) for seeds in (1, 2))
    assert set(named(one)) < set(named(two))
    (row,) = [row for row in two.rows if not row.is_baseline]
    assert [run.config.seed for run in row.runs] == [42, 43]
    assert [run.config.seed for run in row.baselines] == [42, 43]


def test_the_release_row_is_what_the_release_does(request_of):
    for scale in ("micro", "full"):
        graph = plan_graph(request_of("table2", scale, with_release=True))
        (row,) = [row for row in graph.rows if row.labels == ("release",)]
        config = row.runs[0].config
        assert config.align.profile == "release"
        assert config.align.resolved().train_head is False
        assert config.data.batch_size == get_recipe(row.baselines[0].recipe).data.batch_size // 4
        assert row.runs[0].cache.name.endswith("-release")


def test_only_brings_the_baseline_along(request_of):
    graph = plan_graph(request_of("table2", "full", only=["table2_layer8"]))
    assert [row.runs[0].name for row in graph.rows] == ["llava15-7b-baseline", "table2-layer8"]
    with pytest.raises(UnknownNameError, match=r"row of table2 'layer8'\. Known: .*table2_layer8"):
        request_of("table2", only=["layer8"])


def test_reinjection_is_evaluated_from_its_run(request_of):
    graph = plan_graph(request_of("table4"))
    steps = {step.name: step for step in graph.steps}
    assert "export micro-table4-b" not in steps
    assert values_of(steps["evaluate micro-table4-b"].words, "--model") == [
        str(request_of("table4").place.root / "runs/micro-table4-b")
    ]


def test_rows_that_would_be_the_same_run_are_one(request_of):
    left_out = plan_graph(request_of("table2")).left_out
    assert "table2_layer12: the same run as table2_layer8 at this scale" in left_out
    rows = plan_graph(request_of("table2", "full")).rows
    assert len(rows) == 14  # DINOv2 at layer 16 is printed twice


def test_a_begun_run_is_resumed(request_of):
    request = request_of("table1")
    (step,) = [step for step in plan_graph(request).steps if step.name == "train micro-viral"]
    assert "--resume" not in step.command
    step.output.mkdir(parents=True)
    (step.output / "config.yaml").touch()
    assert step.command[-1] == "--resume"
    assert step.line(["torchrun", "--no-python"]).startswith("torchrun --no-python viral train --recipe")


def test_machine_settings_and_local_weights_reach_every_run(request_of, tmp_path):
    (tmp_path / "vicuna").mkdir()
    local = [f"lmsys/vicuna-7b-v1.5={tmp_path / 'vicuna'}"]
    graph = plan_graph(request_of("table4", "full", local=local, settings=["backend=deepspeed"]))
    for step in graph.steps:
        if step.is_training:
            assert {"backend=deepspeed", f"model.llm={tmp_path / 'vicuna'}"} <= set(step.words)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": 0}, "--seeds 0 trains nothing"),
        ({"settings": ["backend"]}, "Expected settings like"),
        ({"settings": ["colour=red"]}, "Unknown setting 'colour'"),
        ({"local": ["a/b"]}, "--local a/b: expected a hub id"),
        ({"local": ["a/b=/nowhere"]}, "expected a hub id, =, and a file or folder that is there"),
        ({"profile": "nice"}, "Unknown evaluation profile 'nice'"),
        ({"scale": "huge"}, "Unknown scale 'huge'. Known: full, micro"),
        ({"target": "table7"}, "Unknown target 'table7'. Known: .*table1"),
    ],
)
def test_nonsense_is_refused(request_of, options, message):
    target, scale = options.pop("target", "table1"), options.pop("scale", "micro")
    with pytest.raises((ConfigError, UnknownNameError), match=message):
        plan_graph(request_of(target, scale, **options))


def test_micro_counterparts_keep_what_a_row_changes():
    assert micro_run("table2_layer4").config.align.layer == 1
    assert micro_run("table2_layer32").config.align.layer == 6
    assert micro_run("table5_layers15to17").config.align.layer == [2, 3, 4]
    assert micro_run("table2_clip").config.align.teacher == "tower"
    assert micro_run("table6_ross").cache.codec == "fp16"
    assert micro_run("llava15_7b_viral").config.resolved().align == get_recipe("micro_viral").resolved().align
    with pytest.raises(NoCounterpartError, match="no counterpart of the teacher sam-b"):
        micro_run("table2_sam")
    for recipe in RECIPES:
        if recipe.startswith(("llava15_13b", "qwen", "llava15_7b_siglip2")):
            with pytest.raises(NoCounterpartError):
                micro_run(recipe)


@pytest.mark.parametrize("words", [{"seeds": 2}, {"with_release": True}, {"only": ["llava15_7b_viral"]}])
def test_what_only_a_table_can_have_is_refused_for_a_figure(request_of, words):
    with pytest.raises(ConfigError, match=r"fig5 has no table of scores; leave --seeds"):
        request_of("fig5", **words)
