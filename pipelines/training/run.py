"""From the words of a command line to a training run."""

from pathlib import Path

from pipelines.recipes import get_recipe
from pipelines.training.config import TrainConfig, parse_overrides, read_config, with_overrides
from pipelines.training.folder import CONFIG
from viral.errors import ConfigError

DEFAULT_RECIPE = "llava15_7b_viral"


def train_command(
    settings: list[str],
    *,
    cache: list[str],
    recipe: str | None,
    config: Path | None,
    output: Path | None,
    resume: bool,
) -> Path:
    """Resolve recipe or file plus overrides, then train; returns the last checkpoint.

    A resumed run needs only its folder: without recipe and file its own configuration is taken.

    Raises:
        ViralError, StoreError: anything that does not fit, before any work is done.
    """
    from pipelines.training.caches import parse_caches
    from pipelines.training.loop import train

    if recipe and config:
        raise ConfigError("Give --recipe or --config, not both.")
    if resume and output and not (recipe or config) and (output / CONFIG).is_file():
        config = output / CONFIG
    base = read_config(config) if config else get_recipe(recipe or DEFAULT_RECIPE)
    resolved: TrainConfig = with_overrides(base, parse_overrides(settings))
    return train(
        resolved, cache=parse_caches(cache), output=output or Path("runs") / resolved.name, resume=resume
    )
