"""The paper's runs: every pair of LLM and tower it trains, in both stages, with and without alignment.

A recipe's name is `<student>_<variant>`. Where the paper is silent, docs/models.md says what was chosen.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipelines.training.config import AlignConfig, DataConfig, ModelConfig, OptimConfig, TrainConfig

CLIP_L = "openai/clip-vit-large-patch14-336"
SIGLIP2 = "google/siglip2-so400m-patch16-384"
_RELEASED = "liuhaotian/llava-v1.5-mlp2x-336px-pretrain-vicuna-{}-v1.5"

CAPTIONS = Path("playground/LLaVA-Pretrain")
"""Stage one's 558K pairs, as liuhaotian/LLaVA-Pretrain on the hub holds them."""

LAYER = 16
"""The paper's target layer, of the 32 of Vicuna-7B; it names none for LLMs of another depth."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PaperStudent:
    """A pair of LLM and tower, and what depends on it."""

    name: str
    llm: str
    tower: str = CLIP_L
    depth: int
    """Blocks of the LLM."""
    template: str = "vicuna_v1"
    projector: str | None = None
    """LLaVA's own; None: the one that this student's `pretrain` recipe makes."""
    micro_batch_size: int = 8

    @property
    def model(self) -> ModelConfig:
        """The parts that stage two starts from."""
        own = f"runs/{self.run('pretrain')}/projector.safetensors"
        return ModelConfig(llm=self.llm, tower=self.tower, projector=self.projector or own)

    def run(self, variant: str) -> str:
        """Name of a run, which is that of its folder, too."""
        return f"{self.name}_{variant}".replace("_", "-")


STUDENTS = (
    PaperStudent(name="llava15_7b", llm="lmsys/vicuna-7b-v1.5", depth=32, projector=_RELEASED.format("7b")),
    PaperStudent(name="llava15_7b_siglip2", llm="lmsys/vicuna-7b-v1.5", tower=SIGLIP2, depth=32),
    PaperStudent(
        name="llava15_13b",
        llm="lmsys/vicuna-13b-v1.5",
        depth=40,
        projector=_RELEASED.format("13b"),
        micro_batch_size=4,
    ),
    PaperStudent(
        name="qwen25_7b", llm="Qwen/Qwen2.5-7B-Instruct", depth=28, template="qwen_2", micro_batch_size=4
    ),
    PaperStudent(name="qwen25_05b", llm="Qwen/Qwen2.5-0.5B-Instruct", depth=24, template="qwen_2"),
)


def viral(student: PaperStudent) -> TrainConfig:
    """Stage two with alignment at layer 16: every default is the paper's."""
    return TrainConfig(
        name=student.run("viral"),
        model=student.model,
        data=DataConfig(template=student.template, micro_batch_size=student.micro_batch_size),
    )


def viral_half(student: PaperStudent) -> TrainConfig:
    """The other reading of the paper's layer: half the depth of this LLM."""
    return viral(student).model_copy(
        update={"name": student.run("viral_half"), "align": AlignConfig(layer=student.depth // 2)}
    )


def release(student: PaperStudent) -> TrainConfig:
    """What the public code and its 7B script do: batch 32, cut images left out, a head that is never trained."""
    base = viral(student)
    data = base.data.model_copy(update={"batch_size": 32, "on_cut_image": "drop"})
    align = base.align.model_copy(update={"profile": "release"})
    return base.model_copy(update={"name": student.run("release"), "data": data, "align": align})


def baseline(student: PaperStudent) -> TrainConfig:
    """Stage two without alignment."""
    return without_alignment(viral(student), student.run("baseline"))


def pretrain(student: PaperStudent) -> TrainConfig:
    """Stage one: the projector alone, from random weights, on 558K captions (release, pretrain*.sh)."""
    return TrainConfig(
        name=student.run("pretrain"),
        model=student.model.model_copy(update={"projector": "random"}),
        data=DataConfig(
            annotations=CAPTIONS / "blip_laion_cc_sbu_558k.json",
            images=CAPTIONS / "images",
            template="plain",
            image_mode="crop",
            batch_size=256,
            micro_batch_size=16,
        ),
        lora=None,
        align=AlignConfig(objective="none"),
        optim=OptimConfig(projector_lr=1e-3),
    )


def without_alignment(config: TrainConfig, name: str) -> TrainConfig:
    """The baseline of a run."""
    align = config.align.model_copy(update={"objective": "none"})
    return config.model_copy(update={"name": name, "align": align})


Variant = Callable[[PaperStudent], TrainConfig]


def _variants(student: PaperStudent) -> Iterator[Variant]:
    yield from (pretrain, baseline, viral)
    if student.depth != 2 * LAYER:
        yield viral_half
    if student.name == "llava15_7b":
        yield release


PAPER_RECIPES: dict[str, Callable[[], TrainConfig]] = {
    f"{student.name}_{variant.__name__}": partial(variant, student)
    for student in STUDENTS
    for variant in _variants(student)
}
