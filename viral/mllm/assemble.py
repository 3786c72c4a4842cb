"""Build a LLaVA from its parts: a language model, a vision tower and a projector."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from viral.data.tokens import ImageTokens
from viral.errors import WeightsError, one_line
from viral.hub import fetch
from viral.mllm.student import Student, image_tokens, load_fitting_pixel_spec, load_strictly, load_tokenizer
from viral.tensors import read_tensors

if TYPE_CHECKING:
    from transformers import LlavaConfig

# A CLIP checkpoint also holds the text half, and older ones a position_ids buffer.
_CLIP_REST = ("text_model.", "text_projection", "visual_projection", "logit_scale", "embeddings.position_ids")
# LLaVA's own names (`mm_projector.bin`) beside Hugging Face's.
_PROJECTOR_NAMES = {"mm_projector.0.": "linear_1.", "mm_projector.2.": "linear_2."}


def assemble_student(
    llm: str, tower: str, projector: str, *, device: str = "cpu", dtype: str = "float32"
) -> Student:
    """Join the parts into one stock `LlavaForConditionalGeneration` (tower layer -2, patch tokens only).

    The vocabulary stays that of the LLM: an `<image>` token the tokenizer does not know gets the id after
    the last row and is never embedded, as in LLaVA. `projector` is a path, a hub id, or `random`.

    Raises:
        WeightsError: a part is missing or its weights do not fit its architecture.
    """
    from transformers import AutoModelForCausalLM, CLIPVisionModel, GenerationConfig, LlavaConfig
    from transformers import LlavaForConditionalGeneration as Llava

    language = load_strictly(AutoModelForCausalLM, llm, dtype=dtype)
    vision = load_strictly(CLIPVisionModel, tower, dtype=dtype, ignore=_CLIP_REST)
    tokenizer = load_tokenizer(llm)
    image_id = tokenizer.get_vocab().get("<image>", language.config.vocab_size)
    config = LlavaConfig(
        vision_config=vision.config,
        text_config=language.config,
        image_token_index=image_id,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=language.config.tie_word_embeddings,
    )
    with torch.device("meta"):
        model = Llava(config)
    model.model.vision_tower = vision
    model.model.language_model = language.model
    model.lm_head = language.lm_head
    model.model.multi_modal_projector = _projector(config, projector, dtype)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.eval().to(device)
    return Student(model, tokenizer, load_fitting_pixel_spec(model, tower), image_tokens(model))


def add_image_token(student: Student) -> None:
    """Give the tokenizer and the vocabulary their own `<image>` row, as Hugging Face's LLaVA has one.

    Only an exported model needs it: its prompts come as token ids. The new rows are the mean of the old
    ones; the old rows, hence all logits of text tokens, stay as they are.
    """
    model, tokenizer = student.model, student.tokenizer
    if "<image>" in tokenizer.get_vocab():
        return
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    image_id = tokenizer.convert_tokens_to_ids("<image>")
    old_rows = model.get_input_embeddings().num_embeddings
    model.resize_token_embeddings(max(old_rows, image_id + 1), mean_resizing=False)
    with torch.no_grad():
        for matrix in (model.get_input_embeddings().weight, model.lm_head.weight):
            matrix[old_rows:] = matrix[:old_rows].float().mean(dim=0).to(matrix.dtype)
    model.config.image_token_id = image_id
    student.image = ImageTokens(id=image_id, count=student.image.count)


def _projector(config: "LlavaConfig", source: str, dtype: str) -> torch.nn.Module:
    from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

    projector = LlavaMultiModalProjector(config).to(getattr(torch, dtype))
    if source == "random":
        return projector
    state = {_rename(key): tensor for key, tensor in read_tensors(_projector_file(source)).items()}
    try:
        projector.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise WeightsError(
            f"{source} is not a projector for this tower and LLM: {one_line(error)}."
        ) from error
    return projector


def _rename(key: str) -> str:
    key = key.removeprefix("model.")
    for ours, theirs in _PROJECTOR_NAMES.items():
        key = key.replace(ours, theirs)
    return key


def _projector_file(source: str) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    if not path.exists():
        return fetch(source, "mm_projector.bin", "projector")
    for name in ("model.safetensors", "mm_projector.bin"):
        if (path / name).is_file():
            return path / name
    raise WeightsError(f"No projector in {path}: expected model.safetensors or mm_projector.bin.")
