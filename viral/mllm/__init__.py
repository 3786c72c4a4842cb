"""The multimodal LLM: load or assemble it, adapt it with LoRA, tap a layer, export and generate."""

import os

import torch

if not torch.cuda.is_available():
    # PEFT imports DeepSpeed, which would announce on stdout, between our output, that it found no GPU.
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
