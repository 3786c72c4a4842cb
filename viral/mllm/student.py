"""Load a plain Hugging Face LLaVA folder, strictly: every weight named, none left over."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from viral.data.images import PixelSpec
from viral.data.tokens import ImageTokens
from viral.errors import WeightsError
from viral.hub import require_source

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerBase


@dataclass(slots=True)
class Student:
    """An MLLM with what is needed to feed it: tokenizer, pixel statistics, the image block."""

    model: "LlavaForConditionalGeneration"
    tokenizer: "PreTrainedTokenizerBase"
    pixels: PixelSpec
    image: ImageTokens


def load_student(source: str, *, device: str = "cpu", dtype: str = "float32") -> Student:
    """Load a LLaVA model folder (or hub id) in evaluation mode.

    Raises:
        WeightsError: nothing there, not a LLaVA model, keys missing, unexpected or of another shape, or parts
            (tokenizer, preprocessor, tower) that do not belong together.
    """
    from transformers import LlavaForConditionalGeneration

    model = load_strictly(LlavaForConditionalGeneration, source, dtype=dtype)
    tokenizer = load_tokenizer(source)
    image_token = tokenizer.convert_tokens_to_ids("<image>")
    if image_token != model.config.image_token_id:
        raise WeightsError(
            f"{source}: the tokenizer's <image> is token {image_token}, the model expects "
            f"{model.config.image_token_id}; the folder mixes two models."
        )
    model.eval().to(device)
    return Student(model, tokenizer, load_fitting_pixel_spec(model, source), image_tokens(model))


def image_tokens(model: "LlavaForConditionalGeneration") -> ImageTokens:
    """The block of visual tokens one image becomes: (size / patch)^2 copies of the image token."""
    vision = model.config.vision_config
    return ImageTokens(id=model.config.image_token_id, count=(vision.image_size // vision.patch_size) ** 2)


def load_tokenizer(source: str) -> "PreTrainedTokenizerBase":
    """Load a tokenizer that can report character offsets (label masks need them).

    Raises:
        WeightsError: no tokenizer there, or a slow one.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise WeightsError(_unavailable("tokenizer", source, error)) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token  # LLaVA pads Vicuna with <unk>
    if not tokenizer.is_fast:
        raise WeightsError(
            f"{source}: no fast tokenizer; convert it with transformers so it has a tokenizer.json."
        )
    return tokenizer


def load_pixel_spec(source: str) -> PixelSpec:
    """Square size and statistics from a folder's `preprocessor_config.json`.

    Raises:
        WeightsError: no image processor there.
    """
    from transformers import AutoImageProcessor

    try:
        processor = AutoImageProcessor.from_pretrained(source, backend="pil")
    except (OSError, ValueError) as error:
        raise WeightsError(_unavailable("image processor", source, error)) from error
    size = processor.size
    side = size.get("shortest_edge") or size["height"]
    return PixelSpec(size=side, mean=tuple(processor.image_mean), std=tuple(processor.image_std))


def load_fitting_pixel_spec(model: "LlavaForConditionalGeneration", source: str) -> PixelSpec:
    """`load_pixel_spec`, with squares of the size that the model's vision tower takes.

    Raises:
        WeightsError: no image processor there, or one for another size.
    """
    pixels, side = load_pixel_spec(source), model.config.vision_config.image_size
    if pixels.size != side:
        raise WeightsError(
            f"{source}: its preprocessor makes squares of {pixels.size} pixels, its vision tower takes {side}; "
            "give it the preprocessor_config.json of its own tower."
        )
    return pixels


def load_strictly(model_class: Any, source: str, *, dtype: str, ignore: tuple[str, ...] = ()) -> Any:  # noqa: ANN401
    """`from_pretrained` that raises where transformers would only log.

    A missing weight would otherwise be drawn at random, which is how the release lost its teacher.
    `ignore` names parts of keys that a larger checkpoint may hold beside this model's.

    Raises:
        WeightsError: nothing there, or keys missing, unexpected or of another shape.
    """
    from safetensors import SafetensorError

    require_source(source, f"weights of {model_class.__name__}")
    try:
        model, report = model_class.from_pretrained(
            source, dtype=getattr(torch, dtype), output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise WeightsError(_unavailable(model_class.__name__, source, error)) from error
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        keys = sorted(str(key) for key in report[problem] if not any(part in str(key) for part in ignore))
        if keys:
            raise WeightsError(
                f"{source} does not fit {model_class.__name__}: {len(keys)} {problem.replace('_', ' ')}, "
                f"first {', '.join(keys[:3])}. Give the weights of this architecture."
            )
    return model


def _unavailable(what: str, source: str, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return (
        f"Cannot load the {what} from {source!r}: {reason} "
        "Give a local folder with the weights, or a hub id and a network."
    )
