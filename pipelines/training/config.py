"""Everything that defines a training run, with the paper's values as defaults."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    Field,
    StrictInt,
    ValidationError,
    field_validator,
    model_validator,
)
from torch import nn

from pipelines.training.align_config import AlignConfig as AlignConfig
from pipelines.training.align_config import Settings
from viral.data.conversation import get_template
from viral.data.sampler import get_grouping
from viral.data.tiles import Tiling
from viral.errors import ConfigError
from viral.mllm.aligned import MAIN

DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
"""torch's name of what the frozen weights are kept in, by precision."""


class ModelConfig(Settings):
    """Where the student comes from: one LLaVA folder, or the three parts LLaVA-1.5 starts stage two from.

    Each a local path or a hub id.
    """

    llava: str | None = None
    llm: str | None = None
    tower: str | None = None
    projector: str | None = None
    """`viral pretrain`'s projector.safetensors, LLaVA's mm_projector.bin, or `random` (drawn from the run's seed)."""
    tiles: str | None = None
    """`llava-next` makes a LLaVA-NeXT of the parts. A `model.llava` says itself whether it sees tiles."""

    @model_validator(mode="after")
    def _one_way(self) -> "ModelConfig":
        parts = (self.llm, self.tower, self.projector)
        if (self.llava is None) != all(parts) or (self.llava and any(parts)):
            raise ValueError("give either model.llava, or all of model.llm, model.tower and model.projector")
        if self.tiles and self.llava:
            raise ValueError(
                "model.llava says itself whether it sees tiles, drop model.tiles; it is for model.llm, ..."
            )
        if self.tiles:
            Tiling(name=self.tiles)
        return self


class DataConfig(Settings):
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
    num_workers: int = Field(4, ge=0, le=1024)
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


class LoraSettings(Settings):
    """LoRA on every linear of the LLM's blocks (release, finetune_lora.sh)."""

    rank: int = Field(128, gt=0)
    alpha: int = Field(256, gt=0)
    dropout: float = Field(0.05, ge=0, lt=1)


class OptimConfig(Settings):
    """AdamW, cosine to zero after a linear warm-up."""

    lr: float = Field(2e-4, gt=0)
    """For LoRA and the alignment head."""
    projector_lr: float = Field(2e-5, gt=0)
    """For the projector between tower and LLM."""
    weight_decay: float = Field(0.0, ge=0)
    warmup_ratio: float = Field(0.03, ge=0, le=1)
    num_epochs: int = Field(1, gt=0)
    max_steps: int | None = Field(None, gt=0)
    """Stop (and end the schedule) after so many steps instead of after num_epochs."""
    max_grad_norm: float | None = Field(None, gt=0)
    """None: no clipping, as in the paper's DeepSpeed configuration."""


class TrainConfig(Settings):
    """One training run; a recipe is a function that returns one."""

    name: str
    model: ModelConfig
    data: DataConfig = DataConfig()
    lora: LoraSettings | None = LoraSettings()
    """None freezes the LLM: the projector is trained alone, which is stage one (`viral pretrain`)."""
    align: AlignConfig = AlignConfig()
    also: dict[str, AlignConfig] = Field(default_factory=dict)
    """More terms by name, each with its teacher: `also.sam.teacher=sam-b`, with `--cache sam=PATH`."""
    optim: OptimConfig = OptimConfig()
    precision: Literal["fp32", "bf16"] = "bf16"
    gradient_checkpointing: Literal["auto", "none", "full"] | int = "auto"
    """Of the LLM's blocks: recompute none, all, or every n-th; `auto`: as few as fit a GPU's memory, all on a CPU."""
    logits_at_once: Literal["auto"] | Annotated[StrictInt, Field(gt=0)] = "auto"
    """Positions whose logits are in memory together; `auto`: as many as fit 1/64 of the device's memory."""
    compile: bool = False
    """torch.compile for each of the LLM's blocks; the first steps then take minutes."""
    backend: str = "auto"
    """`single`, `ddp` or `deepspeed`; `auto`: ddp where there are several ranks."""
    zero_stage: Literal[0, 2, 3] = 2
    """What DeepSpeed shards: nothing, optimizer state and gradients, or the frozen weights too."""
    device: str = "auto"
    """`auto`: a GPU if there is one, else the CPU. Each of several ranks takes its own."""
    seed: int = Field(42, ge=0, lt=2**32)
    save_every: int = Field(1000, gt=0)
    keep_last: int = Field(10, gt=0)

    @field_validator("gradient_checkpointing", mode="before")
    @classmethod
    def _older(cls, value: object) -> object:
        return {True: "full", False: "none"}[value] if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _possible(self) -> "TrainConfig":
        if isinstance(self.gradient_checkpointing, int) and self.gradient_checkpointing < 1:
            raise ValueError("gradient_checkpointing takes auto, none, full, or n >= 1 for every n-th block")
        if self.compile and self.backend == "deepspeed" and self.zero_stage == 3:
            raise ValueError(
                "compile=true needs whole weights, which zero_stage=3 does not keep; use zero_stage=2"
            )
        return self

    @model_validator(mode="after")
    def _named(self) -> "TrainConfig":
        for name in self.also:
            if not re.fullmatch(r"[a-z][a-z0-9_-]*", name) or name == MAIN or hasattr(nn.ModuleDict, name):
                raise ValueError(f"also.{name}: give it another name, of lower-case letters, digits, - and _")
        if self.data.pack and any(term.averaging == "release" for term in self.terms.values()):
            raise ValueError(
                "data.pack=true puts samples in one row, which averaging=release leaves out; choose one"
            )
        return self

    @property
    def terms(self) -> dict[str, AlignConfig]:
        """The settings of every term by name, the main one first; a baseline has none."""
        named = {MAIN: self.align, **self.also}
        return {name: term.resolved() for name, term in named.items() if term.objective != "none"}

    def num_steps(self, num_samples: int) -> int:
        """Optimizer steps of a run over so many samples; an incomplete batch at an epoch's end is none."""
        return self.optim.max_steps or self.optim.num_epochs * (num_samples // self.data.batch_size)

    def resolved(self) -> "TrainConfig":
        """A copy in which every term says what it does."""
        also = {name: term.resolved() for name, term in self.also.items()}
        return self.model_copy(update={"align": self.align.resolved(), "also": also})


def with_overrides(config: TrainConfig, overrides: dict[str, Any]) -> TrainConfig:
    """A copy with dotted settings replaced: `{"align.layer": 8}`.

    Raises:
        ConfigError: an unknown setting (the known ones are listed) or a value it does not take.
    """
    values = config.model_dump(mode="json")
    for dotted, value in overrides.items():
        node = values
        *groups, name = dotted.split(".")
        if groups[:1] == ["also"] and len(groups) == 2:  # naming a term makes it
            values["also"].setdefault(groups[1], AlignConfig().model_dump(mode="json"))
        for key in [*groups, name]:
            if not isinstance(node, dict) or key not in node:
                known = ", ".join(sorted(node) if isinstance(node, dict) else ()) or "none"
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
    try:
        return parse_config(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def parse_config(values: Any) -> TrainConfig:  # noqa: ANN401 - the border where YAML becomes typed
    """Validate plain values into a TrainConfig.

    Raises:
        ConfigError: one line naming every setting that is wrong and why.
    """
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'configuration'}: {_reason(problem['msg'])}"
            for problem in error.errors()
        )
        raise ConfigError(f"Invalid settings: {problems}.") from error


def _reason(message: str) -> str:
    return message.removeprefix("Value error, ").rstrip(".")


def write_config(config: TrainConfig) -> str:
    """The YAML text that `read_config` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
