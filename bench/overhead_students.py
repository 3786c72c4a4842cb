"""What bench/overhead.py trains: a random student of real or scaled size, a random teacher, photographs, two stores."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from skimage import data as photographs

from pipelines.annotation_cache import open_annotations
from pipelines.recipes import get_recipe, scaled_llava15
from pipelines.training.activations import set_checkpointing
from pipelines.training.config import TrainConfig, with_overrides
from pipelines.training.optim import build_optimizer
from pipelines.training.samples import build_encoding
from pipelines.training.terms import build_terms
from stores import (
    CosineStats,
    FeatureStore,
    Plan,
    ShardReport,
    StoreSpec,
    create_store,
    finish_store,
    get_codec,
    open_store,
    write_shard,
)
from stores.arrays import read_tables
from viral.data.dataset import Encoding
from viral.data.images import PixelSpec, decode_image, normalise, to_square
from viral.data.index import AnnotationIndex
from viral.data.tokens import ImageTokens
from viral.microworld.parts import parts
from viral.mllm.aligned import MAIN, AlignedMllm
from viral.mllm.load import load_tokenizer
from viral.mllm.lora import add_lora
from viral.mllm.scaled import DEPTH, WIDTH, write_scaled_llava
from viral.mllm.student import Student, load_student
from viral.mllm.towers import patch_features
from viral.teachers import get_teacher
from viral.teachers.load import load_teacher
from viral.teachers.teacher import Teacher

NUM_IMAGES = 24
REAL: Mapping[str, tuple[str, dict[str, Any]]] = {
    "vicuna-7b": ("LlamaConfig", {}),  # the class's own defaults are Llama-7B's
    "qwen2.5-7b": (
        "Qwen2Config",
        {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
         "num_key_value_heads": 4, "vocab_size": 152064},
    ),
    "qwen2.5-0.5b": (
        "Qwen2Config",
        {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
         "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True},
    ),
}  # fmt: skip
STUDENTS = ("scaled", *REAL)


class Store(NamedTuple):
    """An open store and where it lies."""

    path: Path
    store: FeatureStore


@dataclass
class Material:
    """What all ways share."""

    device: torch.device
    dtype: torch.dtype
    student: Student
    adapted: Any
    terms: dict[str, Any]
    teacher: Teacher
    optimizer: torch.optim.AdamW
    encoding: Encoding
    samples: AnnotationIndex
    images: Path
    keys: dict[str, str]
    targets: Store
    features: Store

    @property
    def clock(self) -> Callable[[], float]:
        """Wall time of a GPU that has finished; on a CPU the time of this process, which other jobs do not lengthen."""
        if self.device.type != "cuda":
            return time.process_time

        def now() -> float:
            torch.cuda.synchronize()
            return time.perf_counter()

        return now

    def unused(self, teacher: str, vision_cache: bool) -> int:
        """Bytes that lie in memory for other ways' sake: teacher, tower, or head with its two moments."""
        idle = [] if teacher == "online" else [(self.teacher, 1)]
        idle += [(self.student.model.model.vision_tower, 1)] if vision_cache else []
        idle += [(term, 3) for term in self.terms.values()] if teacher == "none" else []
        return sum(copies * p.nbytes for module, copies in idle for p in module.parameters())


def prepare(name: str, folder: Path, device: str, micro_batch: int, checkpointing: str) -> Material:
    """Build everything on the device; weights are random."""
    where, images = torch.device(device), folder / "images"
    names = write_photographs(images)
    write_annotations(folder / "data.json", names)
    student, teacher, config = _scaled(folder, device) if name == "scaled" else _real(name, device)
    data = {"annotations": str(folder / "data.json"), "images": str(images), "batch_size": micro_batch}
    data |= {"micro_batch_size": micro_batch}
    config = with_overrides(config, {f"data.{name}": value for name, value in data.items()})
    keys = {name: hashlib.sha256((images / name).read_bytes()).hexdigest() for name in names}
    targets, features = _write_stores(folder, images, keys, student, teacher)
    assert config.lora
    adapted = add_lora(
        student.model, rank=config.lora.rank, alpha=config.lora.alpha, dropout=config.lora.dropout, seed=0
    ).train()
    student.model.model.vision_tower.eval()
    terms = build_terms(config.terms, student.model, {MAIN: teacher.spec.dim}, 0)
    module = AlignedMllm(adapted, terms)
    every = int(checkpointing) if checkpointing.isdigit() else checkpointing
    set_checkpointing(module, every, num_tokens=micro_batch * 900)
    optimizer = build_optimizer(module, config.optim)
    if module._tap:
        module._tap.close()
    return Material(
        device=where,
        dtype=student.model.lm_head.weight.dtype,
        student=student,
        adapted=adapted,
        terms=terms,
        teacher=teacher,
        optimizer=optimizer,
        encoding=build_encoding(config.data, student),
        samples=open_annotations(config.data.annotation_files),
        images=images,
        keys=keys,
        targets=targets,
        features=features,
    )


def _scaled(folder: Path, device: str) -> tuple[Student, Teacher, TrainConfig]:
    """LLaVA-1.5-7B and DINOv2-B with widths / 16 and depths / 4, real images and tokens."""
    write_scaled_llava(folder / "llava")
    config = scaled_llava15(folder / "llava", folder / "data.json", folder / "images")
    config = with_overrides(config, {"align.teacher": "dinov2-b"})
    small = {"embed_dim": 768 // WIDTH, "depth": 12 // DEPTH, "num_heads": 3}
    spec = replace(get_teacher("dinov2"), kwargs=small, dim=768 // WIDTH)
    return (
        load_student(str(folder / "llava"), device=device),
        load_teacher(spec, "random", device=device),
        config,
    )


def _real(name: str, device: str) -> tuple[Student, Teacher, TrainConfig]:
    """Shapes of the checkpoints in bfloat16, with the micro-world's small tokenizer: its ids are ids everywhere."""
    import transformers

    class_name, sizes = REAL[name]
    tokenizer = load_tokenizer(parts()["llm"])
    clip = get_teacher("clip-l-336")
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**clip.kwargs),
        text_config=getattr(transformers, class_name)(**sizes),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        tie_word_embeddings=sizes.get("tie_word_embeddings", False),
    )
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = transformers.LlavaForConditionalGeneration(config).eval()
    torch.set_default_dtype(torch.float32)
    pixels, image = PixelSpec(size=336), ImageTokens(id=config.image_token_id, count=576)
    recipe = with_overrides(get_recipe("llava15_7b_viral"), {"align.layer": 0.5})
    return (
        Student(model, tokenizer, pixels, image),
        load_teacher(get_teacher("dinov2"), "random", device=device),
        recipe,
    )


def _write_stores(
    folder: Path, images: Path, keys: dict[str, str], student: Student, teacher: Teacher
) -> tuple[Store, Store]:
    """Targets in the default codec, and the tower's own features."""
    device, targets, features = student.model.device, [], []
    for name in keys:
        image = decode_image(images / name)
        square, own = (
            torch.as_tensor(to_square(image, size))[None]
            for size in (teacher.square_size, student.pixels.size)
        )
        targets.append(teacher(square).cpu())
        pixels = normalise(own.to(device), student.pixels)
        features.append(patch_features(student.model.model, pixels).float().cpu())
    codec = "bf16" if student.model.lm_head.weight.dtype == torch.bfloat16 else "fp16"
    return (
        _write_store(folder / "targets", keys, torch.cat(targets), "int8"),
        _write_store(folder / "features", keys, torch.cat(features), codec),
    )


def _write_store(root: Path, keys: dict[str, str], features_NTD: torch.Tensor, codec: str) -> Store:
    side = int(features_NTD.shape[1] ** 0.5)
    spec = StoreSpec(
        codec=codec, grid=(side, side), dim=features_NTD.shape[2], fingerprint={"teacher": "random"}
    )
    plan = Plan(spec=spec, keys=tuple(keys.values()), paths=tuple(keys))
    create_store(root, plan)
    coder = get_codec(codec)
    codes = coder.encode(features_NTD.numpy(), read_tables(root, coder))
    exact = CosineStats(mean=1.0, p001=1.0, worst=1.0)  # nobody asks here
    write_shard(root, plan, 0, codes, ShardReport(shard_id=0, num_images=len(keys), cosine=exact))
    finish_store(root, plan)
    return Store(root, open_store(root))


def write_photographs(folder: Path, count: int = NUM_IMAGES) -> list[str]:
    """Crops of one photograph, 640 x 480."""
    folder.mkdir()
    photograph = Image.fromarray(photographs.astronaut()).resize((700, 540))
    names = [f"{index:03d}.jpg" for index in range(count)]
    for index, name in enumerate(names):
        photograph.crop((index, index, index + 640, index + 480)).save(folder / name, quality=90)
    return names


def write_annotations(path: Path, names: Sequence[str]) -> None:
    """About 200 text tokens a sample, a hundred of them supervised, as in LLaVA-665K."""
    turns = [
        ("<image>\nIs there a red circle in the image?", "yes"),
        ("How many circles are there?", "three " * 16),
    ]
    conversation = [
        {"from": speaker, "value": text}
        for turn in turns
        for speaker, text in zip(("human", "gpt"), turn, strict=True)
    ]
    path.write_text(
        json.dumps([{"id": name, "image": name, "conversations": conversation} for name in names])
    )
