"""From the words of a command line to a training run of either stage."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from shutil import copyfile
from typing import TYPE_CHECKING

from pipelines.engines.world import read_world
from pipelines.recipes import get_recipe
from pipelines.training.config import TrainConfig, parse_overrides, read_config, with_overrides
from pipelines.training.folder import CONFIG
from stores.publish import publish
from viral.errors import ConfigError

if TYPE_CHECKING:
    from pipelines.training.estimate import Estimate

DEFAULT_PRETRAIN = "llava15_7b_pretrain"


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """What a command line says of a run."""

    settings: list[str]
    recipe: str | None = None
    config: Path | None = None
    output: Path | None = None
    resume: bool = False
    log: list[str] = field(default_factory=list)
    default: str = "llava15_7b_viral"
    """The recipe where nothing is named."""
    stage_one: bool = False
    """Whether it is a run of the projector alone."""

    def pretraining(self) -> "Command":
        """The same of stage one."""
        return replace(self, default=DEFAULT_PRETRAIN, stage_one=True)

    def base(self) -> TrainConfig:
        """The recipe or file that settings change; a resumed run needs only its folder, which holds its own.

        Raises:
            ConfigError, UnknownNameError: recipe and file at once, an unknown recipe, or a file that does not fit.
        """
        if self.recipe and self.config:
            raise ConfigError("Give --recipe or --config, not both.")
        own = self.output / CONFIG if self.resume and self.output else None
        if own and own.is_file() and not (self.recipe or self.config):
            return read_config(own)
        return read_config(self.config) if self.config else get_recipe(self.recipe or self.default)

    def resolve(self) -> tuple[TrainConfig, Path]:
        """The configuration and the folder that are asked for.

        Raises:
            ConfigError, UnknownNameError: as `base`, or wrong settings, or those of stage two for stage one.
        """
        config = with_overrides(self.base(), parse_overrides(self.settings))
        if self.stage_one and (config.lora is not None or config.terms):
            raise ConfigError(
                f"Stage one trains the projector alone, {config.name} more than that; set lora=null and "
                "align.objective=none, with no also, give a *_pretrain recipe, or use `viral train`."
            )
        return config, self.output or Path("runs") / config.name


def pretrain_command(command: Command, vision_cache: Path | None = None) -> Path:
    """Stage one: resolve and train; returns the projector that stage two starts from.

    Raises:
        ViralError: anything that does not fit, before any work is done.
    """
    from pipelines.training.loop import train
    from viral.mllm.projector import PROJECTOR_FILE

    config, output = command.pretraining().resolve()
    checkpoint = train(
        config,
        cache=None,
        vision_cache=vision_cache,
        output=output,
        resume=command.resume,
        log=command.log,
    )
    projector = output / PROJECTOR_FILE
    if read_world().rank == 0:
        with publish(projector) as partial:
            copyfile(checkpoint / PROJECTOR_FILE, partial)
    return projector


def train_command(command: Command, caches: list[str], vision_cache: Path | None = None) -> Path:
    """Resolve recipe or file plus settings, then train; returns the last checkpoint.

    Raises:
        ViralError, StoreError: anything that does not fit, before any work is done.
    """
    from pipelines.training.caches import parse_caches
    from pipelines.training.loop import train

    config, output = command.resolve()
    return train(
        config,
        cache=parse_caches(caches),
        vision_cache=vision_cache,
        output=output,
        resume=command.resume,
        log=command.log,
    )


def estimate_command(
    command: Command,
    caches: list[str],
    vision_cache: Path | None = None,
    *,
    ranks: int | None,
    tflops: float | None,
) -> "Estimate":
    """What a run would be, of either stage; by default on as many devices as `WORLD_SIZE` says.

    Raises:
        ViralError, StoreError: what would stop the run itself.
    """
    from pipelines.training.caches import parse_caches
    from pipelines.training.estimate import estimate

    config, output = command.resolve()
    return estimate(
        config,
        parse_caches(caches),
        output,
        vision_cache=vision_cache,
        num_ranks=ranks or read_world().size,
        recipe_batch_size=command.base().data.batch_size,
        tflops=tflops,
    )
