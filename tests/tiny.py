"""Real architectures at toy size, built from config with seeded random weights."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from viral.data.conversation import TEMPLATES
from viral.data.images import CLIP_MEAN, CLIP_STD
from viral.data.tiles import Tiling

SIZE, PATCH, GRID = 28, 7, 4
TILING = Tiling(name="llava-next", side=SIZE)
CORPUS = [t.system for t in TEMPLATES.values()] + [
    "USER: <image>\nHow many circles are there? ASSISTANT: 3</s>",
    "Is there a cat? Answer with only 'yes' or 'no'. no yes A B C D (A) (B)",
]


def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE of about 400 tokens that adds <s> in front, like Llama's."""
    return _tokenizer(["<image>"])


def tokenizer_without_image() -> PreTrainedTokenizerFast:
    """The same without an <image> token, like Vicuna's."""
    return _tokenizer([])


def _tokenizer(extra: list[str]) -> PreTrainedTokenizerFast:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<pad>", "<s>", "</s>", *extra],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(CORPUS, trainer)
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens=extra,
    )


def llava_config(num_layers: int = 4, vocab: int = 420) -> LlavaConfig:
    return LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2,
            image_size=SIZE, patch_size=PATCH, projection_dim=16,
        ),
        text_config=LlamaConfig(
            hidden_size=48, intermediate_size=96, num_hidden_layers=num_layers, num_attention_heads=4,
            num_key_value_heads=4, vocab_size=vocab, max_position_embeddings=512,
            bos_token_id=1, eos_token_id=2, pad_token_id=0,
        ),
        image_token_index=3,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )  # fmt: skip


def llava(num_layers: int = 4, seed: int = 0) -> LlavaForConditionalGeneration:
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(llava_config(num_layers))
    with torch.no_grad():  # norms away from one, so that a skipped norm shows
        for name, parameter in model.named_parameters():
            if "norm" in name and name.endswith("weight"):
                parameter.uniform_(0.5, 1.5)
    return model.eval()


def llava_next(num_layers: int = 4, seed: int = 0) -> LlavaNextForConditionalGeneration:
    """The same parts as `llava`, and tiles of `SIZE` px."""
    plain = llava_config(num_layers)
    plain.text_config.max_position_embeddings = 1024
    config = LlavaNextConfig(
        vision_config=plain.vision_config, text_config=plain.text_config, image_token_index=3,
        image_grid_pinpoints=TILING.pinpoints,
    )  # fmt: skip
    torch.manual_seed(seed)
    return LlavaNextForConditionalGeneration(config).eval()


def save_llava_next(folder: Path, num_layers: int = 4, seed: int = 0) -> Path:
    """A plain HF model folder, as `save_llava` makes one."""
    llava_next(num_layers, seed).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    image_processor().save_pretrained(folder)
    return folder


def image_processor() -> CLIPImageProcessorPil:
    side = {"height": SIZE, "width": SIZE}
    return CLIPImageProcessorPil(
        size={"shortest_edge": SIZE}, crop_size=side, image_mean=CLIP_MEAN, image_std=CLIP_STD
    )


def save_llava(folder: Path, num_layers: int = 4, seed: int = 0) -> Path:
    """A plain HF model folder: weights, tokenizer, image processor."""
    llava(num_layers, seed).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    image_processor().save_pretrained(folder)
    return folder
