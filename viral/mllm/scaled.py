"""LLaVA-1.5-7B in miniature: its proportions, its real image geometry, random weights; for trials and timing."""

from pathlib import Path

import torch

from viral.data.images import CLIP_MEAN, CLIP_STD
from viral.microworld.parts import parts
from viral.mllm.load import load_tokenizer

WIDTH, DEPTH = 16, 4
"""Every width of the 7B is divided by the first, every depth by the second; 336 px and 576 visual tokens stay."""


def write_scaled_llava(folder: Path, seed: int = 0) -> Path:
    """Write a random LLaVA to `folder` in Hugging Face's layout, with the micro-world's small tokenizer.

    256 wide, 8 blocks, about 9 M parameters. It knows nothing: good for running the code, not for results.
    """
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
    )

    tokenizer = load_tokenizer(parts()["llm"])
    text = LlamaConfig(
        hidden_size=4096 // WIDTH,
        intermediate_size=11008 // WIDTH,
        num_hidden_layers=32 // DEPTH,
        num_attention_heads=8,
        vocab_size=32000 // WIDTH,
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = CLIPVisionConfig(
        hidden_size=1024 // WIDTH,
        intermediate_size=4096 // WIDTH,
        num_hidden_layers=24 // DEPTH,
        num_attention_heads=2,
        image_size=336,
        patch_size=14,
    )
    image_token = tokenizer.convert_tokens_to_ids("<image>")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(
            LlavaConfig(vision_config=vision, text_config=text, image_token_index=image_token)
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil(
        size={"shortest_edge": 336},
        crop_size={"height": 336, "width": 336},
        image_mean=list(CLIP_MEAN),
        image_std=list(CLIP_STD),
    ).save_pretrained(folder)
    return folder
