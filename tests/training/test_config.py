"""Recipes, overrides and their mistakes."""

from pathlib import Path

import pytest
import yaml

from pipelines.ablation_recipes import ABLATIONS
from pipelines.paper_recipes import STUDENTS
from pipelines.recipes import RECIPES, get_recipe
from pipelines.training.config import AlignConfig, parse_overrides, read_config, with_overrides, write_config
from viral.errors import ConfigError, UnknownNameError
from viral.mllm.llms import LLM_FAMILIES
from viral.mllm.towers import TOWERS


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_survive_their_own_yaml(name, tmp_path: Path):
    recipe = get_recipe(name)
    (tmp_path / "config.yaml").write_text(write_config(recipe))
    assert read_config(tmp_path / "config.yaml") == recipe


def test_paper_recipe_holds_the_papers_values():
    recipe = get_recipe("llava15_7b_viral")
    assert (recipe.lora.rank, recipe.lora.alpha, recipe.lora.dropout) == (128, 256, 0.05)
    assert (recipe.optim.lr, recipe.optim.projector_lr, recipe.optim.weight_decay) == (2e-4, 2e-5, 0.0)
    assert (recipe.data.batch_size, recipe.data.max_length, recipe.data.template) == (128, 2048, "vicuna_v1")
    align = recipe.align.resolved()
    assert (align.layer, align.weight, align.teacher, align.averaging) == (16, 0.5, "dinov2", "image")
    assert (recipe.optim.warmup_ratio, recipe.optim.num_epochs, recipe.optim.max_grad_norm) == (0.03, 1, None)


@pytest.mark.parametrize("scale", [*(student.name for student in STUDENTS), "micro"])
def test_baseline_differs_from_viral_in_alignment_alone(scale):
    viral, baseline = (get_recipe(f"{scale}_{kind}").model_dump() for kind in ("viral", "baseline"))
    differing = {key for key in viral if viral[key] != baseline[key]}
    assert differing == {"name", "align"}
    assert baseline["align"] == {**viral["align"], "objective": "none"}


@pytest.mark.parametrize(
    ("name", "layers"), [("llava15_13b", (16, 20)), ("qwen25_7b", (16, 14)), ("qwen25_05b", (16, 12))]
)
def test_both_readings_of_the_target_layer(name, layers):
    assert (
        tuple(get_recipe(f"{name}_{kind}").align.resolved().layer for kind in ("viral", "viral_half"))
        == layers
    )


@pytest.mark.parametrize("student", STUDENTS, ids=lambda student: student.name)
def test_stage_one_is_the_releases(student):
    one, two = (get_recipe(f"{student.name}_{kind}") for kind in ("pretrain", "viral"))
    assert (one.lora, one.align.objective, one.model.projector) == (None, "none", "random")
    assert (one.data.batch_size, one.data.template, one.data.image_mode) == (256, "plain", "crop")
    assert (one.optim.projector_lr, one.optim.weight_decay, one.optim.warmup_ratio) == (1e-3, 0.0, 0.03)
    assert (one.model.llm, one.model.tower) == (two.model.llm, two.model.tower)
    assert two.model.projector in (student.projector, f"runs/{one.name}/projector.safetensors")
    assert two.data.template == LLM_FAMILIES["qwen2" if "Qwen" in student.llm else "llama"].template
    assert one.model.tower in {checkpoint for tower in TOWERS.values() for checkpoint in tower.checkpoints}


def test_the_guide_names_every_family_tower_and_recipe():
    guide = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    names = [f"`{student.name}`" for student in STUDENTS] + [f"`{family}`" for family in LLM_FAMILIES]
    for tower in TOWERS.values():
        names += [f"`{tower.name}`", *(f"`{checkpoint}`" for checkpoint in tower.checkpoints)]
    names += [f"`_{variant}`" for variant in ("pretrain", "baseline", "viral", "viral_half", "release")]
    assert not [name for name in names if name not in guide]


def test_the_release_has_its_batch_and_its_untrained_head():
    ours, theirs = (get_recipe(f"llava15_7b_{kind}").model_dump() for kind in ("viral", "release"))
    assert {key for key in ours if ours[key] != theirs[key]} == {"name", "data", "align"}
    assert theirs["data"] == {**ours["data"], "batch_size": 32, "on_cut_image": "drop"}
    assert not get_recipe("llava15_7b_release").align.resolved().train_head


def test_overrides_are_typed_and_nested():
    changed = with_overrides(
        get_recipe("llava15_7b_viral"), parse_overrides(["align.layer=8", "optim.max_steps=null"])
    )
    assert changed.align.layer == 8
    assert changed.optim.max_steps is None


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("align.layr=8", "'layr' is not one of .*layer"),
        ("layer", "settings like align.layer=8"),
        ("seed.deep=1", "Unknown setting"),
        ("align.layer=-1", "align.layer: .* block indices from 0 or fractions 0.0 to 1.0, found -1"),
        ("align.layer=1.5", "align.layer: .*, found 1.5"),
        ("align.layer=deep", "align.layer.*: Input should be a valid integer"),
        ("align.objective=magic", "Unknown objective 'magic'. Known: align, align_projected, none, .*, ross"),
        ("align.separate_heads=true", r"several layers, as in layer=\[15,16,17\]"),
        ("also.align.objective=align", "also.align: give it another name"),
        ("also.Sam.objective=align", "also.Sam: give it another name"),
        ("also.sam.layr=3", "Unknown setting"),
        ("data.template=chatml", "Unknown template"),
        ("data.micro_batch_size=7", "no multiple of data.micro_batch_size=7"),
        ("model.llm=null", "all of model.llm, model.tower and model.projector"),
        ("seed=[1", "Cannot read the value"),
    ],
)
def test_each_wrong_setting_is_one_line(argument, message):
    with pytest.raises(ConfigError, match=message) as caught:
        with_overrides(get_recipe("llava15_7b_viral"), parse_overrides([argument]))
    assert "\n" not in str(caught.value)


def test_unknown_recipe_and_missing_or_broken_file(tmp_path: Path):
    with pytest.raises(UnknownNameError, match=r"Known: llava15_13b_baseline, .*micro_viral, qwen25"):
        get_recipe("llava")
    with pytest.raises(ConfigError, match="--recipe NAME"):
        read_config(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="not YAML"):
        read_config(tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(ConfigError, match="Invalid settings"):
        read_config(tmp_path / "list.yaml")


def test_rows_of_the_papers_tables():
    """Each differs from the table's VIRAL row in what the row says, and in nothing else."""
    base = get_recipe("llava15_7b_viral")
    for row, changes in ABLATIONS.items():
        recipe = get_recipe(row)
        assert recipe.model_copy(update={"name": base.name, "align": base.align}) == base
        assert recipe.align == base.align.model_copy(update=changes)
    assert get_recipe("table6_ross").align.resolved().layer == 1.0
    ross = with_overrides(base, {"align.objective": "ross"}).align.resolved()
    assert (ross.layer, ross.weight, ross.teacher) == (1.0, 1.0, "flux-vae")


def test_more_terms_are_made_by_naming_them(tmp_path: Path):
    base = get_recipe("llava15_7b_viral")
    changed = with_overrides(base, parse_overrides(["also.sam.teacher=sam-b", "also.sam.layer=[8,0.5]"]))
    assert list(changed.terms) == ["align", "sam"]
    assert changed.terms["sam"].layer == [8, 0.5]
    (tmp_path / "config.yaml").write_text(write_config(changed.resolved()))
    assert read_config(tmp_path / "config.yaml").resolved() == changed.resolved()
    assert list(with_overrides(changed, {"align.objective": "none"}).terms) == ["sam"]


def test_a_configuration_from_before_there_were_objectives_reads_as_it_was_meant(tmp_path: Path):
    values = yaml.safe_load(write_config(get_recipe("llava15_7b_viral")))
    del values["also"]
    values["align"] = {
        "objective": "align", "teacher": "dinov2", "profile": "release", "weights": "pretrained", "layer": 16,
        "weight": 0.5, "head_width": 2048, "train_head": None,
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    align = read_config(tmp_path / "config.yaml").resolved().align
    assert (align.layer, align.weight, align.teacher, align.train_head) == (16, 0.5, "dinov2", False)


def test_the_release_profile_presets_what_the_paper_has_otherwise():
    paper, release = (AlignConfig(profile=profile).resolved() for profile in ("paper", "release"))
    knobs = ("train_head", "averaging", "use_head", "scope")
    assert [getattr(paper, knob) for knob in knobs] == [True, "image", True, "image"]
    assert [getattr(release, knob) for knob in knobs] == [False, "release", False, "all"]
    assert AlignConfig(profile="release", train_head=True).resolved().train_head
