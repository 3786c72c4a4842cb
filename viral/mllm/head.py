"""The alignment projector P_pi of Eq. 4: visual tokens of the LLM -> the teacher's feature space."""

from itertools import pairwise

import torch
from torch import nn


def alignment_head(hidden_dim: int, target_dim: int, width: int = 2048, seed: int = 0) -> nn.Sequential:
    """Linear-SiLU-Linear-SiLU-Linear, [..., hidden_dim] -> [..., target_dim].

    Paper section 5.1; widths from the release, llava_llama.py:93-105. Weights N(0, 0.02), biases 0: the
    state the release starts from, and our choice where the paper is silent.
    """
    sizes = (hidden_dim, width, width, target_dim)
    generator = torch.Generator().manual_seed(seed)
    modules: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        linear = nn.Linear(inputs, outputs)
        nn.init.normal_(linear.weight, std=0.02, generator=generator)
        nn.init.zeros_(linear.bias)
        modules += [linear, nn.SiLU()]
    return nn.Sequential(*modules[:-1])
