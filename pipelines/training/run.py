"""From the words of a command line to a training run of either stage."""

import os
from pathlib import Path
from shutil import copyfile

from pipelines.recipes import get_recipe
from pipelines.training.config import TrainConfig, parse_overrides, read_config, with_overrides
from pipelines.training.folder import CONFIG
from stores.publish import publish
from viral.errors import ConfigError

DEFAULT_RECIPE = "llava15_7b_viral"
DEFAULT_PRETRAIN = "llava15_7b_pretrain"


def pretrain_command(
    settings: list[str], *, recipe: str | None, config: Path | None, output: Path | None, resume: bool
) -> Path:
    """Stage one: resolve and train as `train_command`; returns the projector that stage two starts from.

    Raises:
        ViralError: anything that does not fit, before any work is done.
    """
    from pipelines.training.loop import train
    from viral.mllm.projector import PROJECTOR_FILE

    resolved = resolve(
        settings, recipe=recipe, config=config, output=output, resume=resume, default=DEFAULT_PRETRAIN
    )
    if resolved.lora is not None or resolved.align.objective != "none":
        raise ConfigError(
            f"Stage one trains the projector alone, {resolved.name} more than that; set lora=null and "
            "align.objective=none, give a *_pretrain recipe, or use `viral train`."
        )
    output = output or default_output(resolved)
    checkpoint = train(resolved, cache=None, output=output, resume=resume)
    projector = output / PROJECTOR_FILE
    if os.environ.get("RANK", "0") == "0":
        with publish(projector) as partial:
            copyfile(checkpoint / PROJECTOR_FILE, partial)
    return projector


def train_command(
    settings: list[str],
    *,
    cache: list[str],
    recipe: str | None,
    config: Path | None,
    output: Path | None,
    resume: bool,
    vision_cache: Path | None = None,
) -> Path:
    """Resolve recipe or file plus overrides, then train; returns the last checkpoint.

    Raises:
        ViralError, StoreError: anything that does not fit, before any work is done.
    """
    from pipelines.training.caches import parse_caches
    from pipelines.training.loop import train

    resolved = resolve(
        settings, recipe=recipe, config=config, output=output, resume=resume, default=DEFAULT_RECIPE
    )
    return train(
        resolved,
        cache=parse_caches(cache),
        vision_cache=vision_cache,
        output=output or default_output(resolved),
        resume=resume,
    )


def resolve(
    settings: list[str],
    *,
    recipe: str | None,
    config: Path | None,
    output: Path | None,
    resume: bool,
    default: str,
) -> TrainConfig:
    """The configuration that a command line asks for.

    A resumed run needs only its folder: without recipe and file its own configuration is taken.

    Raises:
        ConfigError, UnknownNameError: recipe and file at once, an unknown recipe, or wrong settings.
    """
    if recipe and config:
        raise ConfigError("Give --recipe or --config, not both.")
    if resume and output and not (recipe or config) and (output / CONFIG).is_file():
        config = output / CONFIG
    base = read_config(config) if config else get_recipe(recipe or default)
    return with_overrides(base, parse_overrides(settings))


def default_output(config: TrainConfig) -> Path:
    """Where a run goes that was given no folder."""
    return Path("runs") / config.name
