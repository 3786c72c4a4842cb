"""Build a LLaVA from its parts: a language model, a vision tower and a projector."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from viral.data.tiles import Tiling
from viral.mllm.llms import load_llm
from viral.mllm.load import load_tokenizer
from viral.mllm.projector import build_projector
from viral.mllm.student import Student, fitting_pixels, image_tokens, llava_class
from viral.mllm.towers import Tower, load_tower

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


def assemble_student(
    llm: str,
    tower: str,
    projector: str,
    *,
    tiles: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    seed: int = 0,
) -> Student:
    """Join the parts into one stock `LlavaForConditionalGeneration`, or a LLaVA-NeXT if `tiles` names a tiling.

    The vocabulary stays that of the LLM: an `<image>` token the tokenizer does not know gets the id after
    the last row and is never embedded, as in LLaVA. `projector` is a path, a hub id, or `random` (from `seed`);
    the newline of tiles is drawn in any case.

    Raises:
        UnknownNameError: no such tiling.
        WeightsError: a part is missing, of an unknown architecture, or its weights do not fit.
    """
    language = load_llm(llm, dtype)
    kind, vision = load_tower(tower, dtype)
    tokenizer = load_tokenizer(llm)
    image_token_id = tokenizer.get_vocab().get("<image>", language.config.vocab_size)
    config = assembled_config(language.config, kind, vision.config, image_token_id, tiles)
    with torch.device("meta"):
        model = llava_class(config)(config)
    model.model.vision_tower = vision
    model.model.language_model = language.model
    model.lm_head = language.lm_head
    model.model.multi_modal_projector = build_projector(config, projector, dtype=dtype, seed=seed)
    if tiles:
        model.model.image_newline = build_newline(language.config.hidden_size, dtype=dtype, seed=seed)
    _set_end_tokens(model, language, tokenizer)
    model.eval().to(device)
    return Student(model, tokenizer, fitting_pixels(model, tower), image_tokens(model))


def assembled_config(
    language: "PretrainedConfig",
    kind: Tower,
    vision: "PretrainedConfig",
    image_token_id: int,
    tiles: str | None = None,
) -> "PretrainedConfig":
    """The configuration of a LLaVA of these parts, or of a LLaVA-NeXT whose tiles are squares of this tower."""
    from transformers import LlavaConfig, LlavaNextConfig

    settings: dict[str, Any] = {}
    if tiles:
        settings = {"image_grid_pinpoints": Tiling(name=tiles, side=vision.image_size).pinpoints}
    return (LlavaNextConfig if tiles else LlavaConfig)(
        vision_config=vision,
        text_config=language,
        image_token_index=image_token_id,
        image_seq_length=(vision.image_size // vision.patch_size) ** 2,
        vision_feature_layer=kind.feature_layer,
        vision_feature_select_strategy=kind.select,
        tie_word_embeddings=language.tie_word_embeddings,
        **settings,
    )


def build_newline(width: int, *, dtype: str, seed: int) -> torch.nn.Parameter:
    """The token that ends a row of tiles, as LLaVA-NeXT starts it: N(0, 1 / width), from `seed` alone."""
    drawn = torch.randn(width, generator=torch.Generator().manual_seed(seed)) / math.sqrt(width)
    return torch.nn.Parameter(drawn.to(getattr(torch, dtype)))


def add_image_token(student: Student) -> None:
    """Give the tokenizer and the vocabulary their own `<image>` row, as Hugging Face's LLaVA has one.

    Only an exported model needs it: its prompts come as token ids. Where the LLM has no row to spare, the new
    ones are the mean of the old; the old rows, hence all logits of text tokens, stay as they are.
    """
    model, tokenizer = student.model, student.tokenizer
    if "<image>" in tokenizer.get_vocab():
        return
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    image_id = tokenizer.convert_tokens_to_ids("<image>")
    old_rows = model.get_input_embeddings().num_embeddings
    if image_id >= old_rows:
        model.resize_token_embeddings(image_id + 1, mean_resizing=False)
        with torch.no_grad():
            for matrix in (model.get_input_embeddings().weight, model.lm_head.weight):
                matrix[old_rows:] = matrix[:old_rows].float().mean(dim=0).to(matrix.dtype)
    model.config.image_token_id = image_id
    student.image = replace(student.image, id=image_id)


def _set_end_tokens(
    model: "PreTrainedModel", language: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase"
) -> None:
    """Take over what ends a reply of the LLM, and leave its sampling (top_p, repetition penalty) behind."""
    from transformers import GenerationConfig

    configured = language.generation_config.eos_token_id
    ends = {*(configured if isinstance(configured, list) else [configured]), tokenizer.eos_token_id} - {None}
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=sorted(ends) if len(ends) > 1 else next(iter(ends), None),
        pad_token_id=tokenizer.pad_token_id,
    )
