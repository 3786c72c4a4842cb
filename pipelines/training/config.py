"""Everything that defines a training run, with the paper's values as defaults."""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from viral.data.conversation import get_template
from viral.data.sampler import get_grouping
from viral.errors import ConfigError
from viral.objectives import get_objective


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class ModelConfig(_Config):
    """Where the student comes from: one LLaVA folder, or the three parts LLaVA-1.5 starts stage two from."""

    llava: str | None = None
    llm: str | None = None
    tower: str | None = None
    projector: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "ModelConfig":
        parts = (self.llm, self.tower, self.projector)
        if (self.llava is None) != all(parts) or (self.llava and any(parts)):
            raise ValueError("give either model.llava, or all of model.llm, model.tower and model.projector")
        return self


class DataConfig(_Config):
    """Annotations, images and how they are batched."""

    annotations: Path | tuple[Path, ...] = Path("playground/llava_v1_5_mix665k.json")
    """One file or several, `.json` or `.jsonl`, one after the other."""
    images: Path = Path("playground/llava-665k")
    image_mode: Literal["pad", "crop"] = "pad"
    """`crop`: shortest side and centre, as LLaVA's stage one has it."""
    template: str = "vicuna_v1"
    supervise_last_end: bool = True
    """False: the end of a sample's last answer is not learnt; what the release does with `qwen_2`, by an oversight."""
    max_length: int = Field(2048, gt=0)
    batch_size: int = Field(128, gt=0)
    """Samples per optimizer step over all ranks. The paper's 5.2K steps need 128; the release's 7B script has 32."""
    micro_batch_size: int = Field(8, gt=0)
    num_workers: int = Field(4, ge=0)
    grouping: str = "modality_length"
    """What shares a global batch: `none`, `length` or `modality_length`, LLaVA's and the paper's."""
    pack: bool = False
    """Lay the samples of a micro-batch in one row, without padding; losses and their weights stay the same."""
    on_bad_image: Literal["error", "skip"] = "error"
    """`skip` leaves out samples whose image is missing or was rejected by the cache, and says how many."""
    on_cut_image: Literal["error", "drop"] = "error"
    """`drop` ends a sample before the first image block that `max_length` would cut, and counts it as truncated."""

    @model_validator(mode="after")
    def _splits(self) -> "DataConfig":
        get_template(self.template)
        get_grouping(self.grouping)
        if not self.annotation_files:
            raise ValueError("data.annotations names no file")
        if self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"data.batch_size={self.batch_size} is no multiple of data.micro_batch_size={self.micro_batch_size}"
            )
        return self

    @property
    def annotation_files(self) -> tuple[Path, ...]:
        """`annotations`, one or several."""
        return (self.annotations,) if isinstance(self.annotations, Path) else self.annotations


class LoraSettings(_Config):
    """LoRA on every linear of the LLM's blocks (release, finetune_lora.sh)."""

    rank: int = Field(128, gt=0)
    alpha: int = Field(256, gt=0)
    dropout: float = Field(0.05, ge=0, lt=1)


class AlignConfig(_Config):
    """The alignment term of Eq. 5. `objective=none` is the baseline."""

    objective: str = "align"
    teacher: str = "dinov2"
    profile: Literal["paper", "release", "native"] = "paper"
    """How the cached features must have been made; a cache of another profile is refused."""
    weights: Literal["pretrained", "random"] = "pretrained"
    """`random` accepts a teacher that knows nothing, for trials."""
    layer: int = Field(16, ge=0)
    """Output of this block, counted from 1; 0 is the LLM's input."""
    weight: float = Field(0.5, ge=0)
    head_width: int = Field(2048, gt=0)
    train_head: bool | None = None
    """None: trained, except under profile `release`, whose head stays at its random start."""

    @property
    def trains_head(self) -> bool:
        """`train_head`, or what the profile says."""
        return self.profile != "release" if self.train_head is None else self.train_head

    @model_validator(mode="after")
    def _known(self) -> "AlignConfig":
        get_objective(self.objective)
        return self


class OptimConfig(_Config):
    """AdamW, cosine to zero after a linear warm-up."""

    lr: float = Field(2e-4, gt=0)
    """For LoRA and the alignment head."""
    projector_lr: float = Field(2e-5, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    warmup_ratio: float = Field(0.03, ge=0, le=1)
    num_epochs: int = Field(1, gt=0)
    max_steps: int | None = Field(None, gt=0)
    """Stop (and end the schedule) after so many steps instead of after num_epochs."""
    max_grad_norm: float | None = Field(None, gt=0)
    """None: no clipping, as in the paper's DeepSpeed configuration."""


class TrainConfig(_Config):
    """One training run; a recipe is a function that returns one."""

    name: str
    model: ModelConfig
    data: DataConfig = DataConfig()
    lora: LoraSettings = LoraSettings()
    align: AlignConfig = AlignConfig()
    optim: OptimConfig = OptimConfig()
    precision: Literal["fp32", "bf16"] = "bf16"
    gradient_checkpointing: bool = True
    backend: str = "single"
    device: str = "auto"
    """`auto`: a GPU if there is one, else the CPU."""
    seed: int = Field(42, ge=0)
    save_every: int = Field(1000, gt=0)
    keep_last: int = Field(10, gt=0)


def with_overrides(config: TrainConfig, overrides: dict[str, Any]) -> TrainConfig:
    """A copy with dotted settings replaced: `{"align.layer": 8}`.

    Raises:
        ConfigError: an unknown setting (the known ones are listed) or a value it does not take.
    """
    values = config.model_dump(mode="json")
    for dotted, value in overrides.items():
        node = values
        *groups, name = dotted.split(".")
        for key in [*groups, name]:
            if not isinstance(node, dict) or key not in node:
                known = ", ".join(sorted(node)) if isinstance(node, dict) else "none"
                raise ConfigError(f"Unknown setting {dotted!r}: {key!r} is not one of {known}.")
            parent, node = node, node[key]
        parent[name] = value
    return parse_config(values)


def parse_overrides(arguments: list[str]) -> dict[str, Any]:
    """`["align.layer=8"]` -> `{"align.layer": 8}`; values are YAML.

    Raises:
        ConfigError: an argument without `=`, or a value that is not YAML.
    """
    overrides = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals:
            raise ConfigError(f"Expected settings like align.layer=8, found {argument!r}.")
        try:
            overrides[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"Cannot read the value of {argument!r} as YAML.") from error
    return overrides


def read_config(path: Path) -> TrainConfig:
    """Read a `config.yaml` as a run writes it.

    Raises:
        ConfigError: missing file, not YAML, or settings that do not validate.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"No configuration at {path}; give --recipe NAME or a YAML file.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    return parse_config(values)


def parse_config(values: Any) -> TrainConfig:  # noqa: ANN401 - the border where YAML becomes typed
    """Validate plain values into a TrainConfig.

    Raises:
        ConfigError: one line naming every setting that is wrong and why.
    """
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'configuration'}: {problem['msg']}"
            for problem in error.errors()
        )
        raise ConfigError(f"Invalid settings: {problems}.") from error


def write_config(config: TrainConfig) -> str:
    """The YAML text that `read_config` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
