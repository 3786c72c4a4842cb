"""The optional backend vLLM, for plain Hugging Face LLaVA folders on a GPU. Written against 0.33.0, never run.

Pictures are squared here, and prompts turned into token ids, so that both are those of the default backend; vLLM puts
the block of visual tokens in the place of one image token, and resizes a square of the tower's size to itself.
"""

import importlib.util
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.answering.backend import Answer, Backend
from viral.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from viral.mllm.generate import Question


def _check(model: str, device: "torch.device") -> None:
    from pipelines.training.load import reinjections, run_config

    if config := run_config(model):
        if found := reinjections(config):
            raise ConfigError(
                f"{model} reinjects ({', '.join(found.values())}), which vLLM cannot; use --backend transformers."
            )
        raise ConfigError(f"{model} is a run, and vLLM reads plain model folders; use viral export first.")
    if device.type != "cuda":
        raise ConfigError(f"The backend vllm needs a GPU, found {device}; use --backend transformers.")
    if importlib.util.find_spec("vllm") is None:
        raise ConfigError(
            "vLLM is not installed (see docs/evaluation.md, Speed); use --backend transformers."
        )


def _load(model: str, device: "torch.device", dtype: str) -> Answer:
    from transformers import AutoConfig, GenerationConfig
    from vllm import LLM, SamplingParams

    from viral.data.images import decode_image, mean_fill, to_square
    from viral.data.tokens import ImageTokens, encode_prompt
    from viral.mllm.load import load_tokenizer
    from viral.mllm.towers import get_tower, tower_pixels

    config, tokenizer = AutoConfig.from_pretrained(model), load_tokenizer(model)
    if config.model_type != "llava":
        raise ConfigError(f"{model} is a {config.model_type} model; the backend vllm is for plain LLaVAs.")
    vision = config.vision_config
    pixels = tower_pixels(model, get_tower(vision.model_type, model), vision.image_size)
    image = ImageTokens(id=config.image_token_id, count=(vision.image_size // vision.patch_size) ** 2)
    configured = GenerationConfig.from_pretrained(model).eos_token_id
    ends = {tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])} - {None}
    # Nothing of the checkpoint's generation config but its end tokens: no sampling, no penalties.
    llm = LLM(model=model, dtype=dtype, seed=0, limit_mm_per_prompt={"image": 1}, generation_config="vllm")

    def request(question: "Question", image_mode: str) -> dict[str, Any]:
        from PIL import Image

        ids = encode_prompt(question.prompt, tokenizer, image)
        square = to_square(decode_image(question.image), pixels.size, image_mode, mean_fill(pixels.mean))
        return {
            "prompt_token_ids": collapse(ids, image.id),
            "multi_modal_data": {"image": Image.fromarray(square)},
        }

    def answer(
        questions: "Sequence[Question]", *, max_new_tokens: int, image_mode: str, batch_size: int
    ) -> Iterator[tuple[str, str]]:
        sampling = SamplingParams(temperature=0.0, max_tokens=max_new_tokens, stop_token_ids=sorted(ends))
        for start in range(0, len(questions), batch_size):
            part = questions[start : start + batch_size]
            outputs = llm.generate([request(each, image_mode) for each in part], sampling, use_tqdm=False)
            for question, output in zip(part, outputs, strict=True):
                tokens = list(output.outputs[0].token_ids)
                yield question.key, str(tokenizer.decode(tokens, skip_special_tokens=True))

    return answer


def collapse(ids: Sequence[int], image_id: int) -> list[int]:
    """A prompt with one image token for each block of them."""
    return [
        token
        for index, token in enumerate(ids)
        if token != image_id or index == 0 or ids[index - 1] != image_id
    ]


VLLM = Backend(name="vllm", check=_check, load=_load, batch_size={"cuda": 1024})
