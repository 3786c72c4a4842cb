"""Recipes, overrides and their mistakes."""

from pathlib import Path

import pytest

from pipelines.recipes import RECIPES, get_recipe
from pipelines.training.config import parse_overrides, read_config, with_overrides, write_config
from viral.errors import ConfigError, UnknownNameError


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


@pytest.mark.parametrize("scale", ["llava15_7b", "micro"])
def test_baseline_differs_from_viral_in_alignment_alone(scale):
    viral, baseline = (get_recipe(f"{scale}_{kind}").model_dump() for kind in ("viral", "baseline"))
    differing = {key for key in viral if viral[key] != baseline[key]}
    assert differing == {"name", "align"}
    assert baseline["align"] == {**viral["align"], "objective": "none"}


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
    with pytest.raises(UnknownNameError, match="Known: llava15_7b_baseline, llava15_7b_viral, micro"):
        get_recipe("llava")
    with pytest.raises(ConfigError, match="--recipe NAME"):
        read_config(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="not YAML"):
        read_config(tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(ConfigError, match="Invalid settings"):
        read_config(tmp_path / "list.yaml")
