"""Hugging Face folders and hub ids, loaded strictly: every weight named, none left over, one line if not."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from viral.data.images import PixelSpec
from viral.errors import WeightsError, one_line
from viral.hub import require_source

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase


def read_model_config(source: str, what: str) -> "PretrainedConfig":
    """The `config.json` of a model; `what` says what was looked for.

    Raises:
        WeightsError: none there, or of an architecture that transformers does not know.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    require_source(source, what)
    try:
        return AutoConfig.from_pretrained(source)
    except (OSError, ValueError, KeyError, StrictDataclassError) as error:
        raise WeightsError(_unavailable(what, source, error)) from error


def load_strictly(
    model_class: Any,  # noqa: ANN401 - any class of transformers
    source: str,
    *,
    dtype: str,
    ignore: tuple[str, ...] = (),
    **settings: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """`from_pretrained` that raises where transformers would only log.

    A missing weight would otherwise be drawn at random, which is how the release lost its teacher.
    `ignore` names parts of keys that a larger checkpoint may hold beside this model's.

    Raises:
        WeightsError: nothing there, or keys missing, unexpected or of another shape.
    """
    from safetensors import SafetensorError

    require_source(source, f"weights of {model_class.__name__}")
    try:
        with _without_report():
            model, report = model_class.from_pretrained(
                source, dtype=getattr(torch, dtype), output_loading_info=True, **settings
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


@contextmanager
def _without_report() -> Iterator[None]:
    """Transformers would list what it left out of a checkpoint; `load_strictly` judges that itself."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


def _unavailable(what: str, source: str, error: Exception) -> str:
    return (
        f"Cannot load the {what} from {source!r}: {one_line(error)}. "
        "Give a local folder with the weights, or a hub id and a network."
    )
