"""ROSS's denoiser: a small diffusion transformer whose blocks are modulated token by token.

Shapes: N images, T tokens, C channels of the latents, D width of the condition, W width of the denoiser.
"""

import torch
import torch.nn.functional as F
from torch import nn

from viral.errors import ConfigError

NUM_HEADS, TIME_DIM, PERIOD = 16, 256, 10_000.0


class Denoiser(nn.Module):
    """Predicts the noise in latents [N, T, C] from them, the time and a condition for every token."""

    positions: torch.Tensor

    def __init__(
        self, latent_dim: int, condition_dim: int, width: int, depth: int, grid: tuple[int, int], seed: int
    ) -> None:
        super().__init__()
        if width % NUM_HEADS:
            raise ConfigError(f"denoiser_width={width} is no multiple of its {NUM_HEADS} heads.")
        self.embed_latents = nn.Linear(latent_dim, width)
        self.embed_time = nn.Sequential(nn.Linear(TIME_DIM, width), nn.SiLU(), nn.Linear(width, width))
        self.embed_condition = nn.Sequential(nn.SiLU(), nn.Linear(condition_dim, width))
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))
        self.output = nn.Linear(width, latent_dim)
        self.register_buffer("positions", grid_positions(*grid, width), persistent=False)
        self._initialise(seed)

    def forward(
        self, latents_NTC: torch.Tensor, times_N: torch.Tensor, condition_NTD: torch.Tensor
    ) -> torch.Tensor:
        """Noise [N, T, C]; tokens are the grid's first T."""
        tokens_NTW = self.embed_latents(latents_NTC) + self.positions[: latents_NTC.shape[1]]
        time_N1W = self.embed_time(sinusoids(times_N.float(), TIME_DIM).flip(-2).flatten(-2))[:, None]
        condition_NTW = time_N1W + self.embed_condition(condition_NTD)
        for block in self.blocks:
            tokens_NTW = block(tokens_NTW, condition_NTW)
        shift_NTW, scale_NTW = self.modulation(condition_NTW).chunk(2, dim=-1)
        return self.output(modulated_norm(tokens_NTW, shift_NTW, scale_NTW))

    @torch.no_grad()
    def _initialise(self, seed: int) -> None:
        """Xavier, zero biases, N(0, 0.02) on the conditions; modulations and output start at zero."""
        generator = torch.Generator().manual_seed(seed)
        for linear in linears(self):
            nn.init.xavier_uniform_(linear.weight, generator=generator)
            nn.init.zeros_(linear.bias)
        for module in (self.embed_time, self.embed_condition):
            for linear in linears(module):
                nn.init.normal_(linear.weight, std=0.02, generator=generator)
        modulations = [module for name, module in self.named_modules() if name.endswith("modulation")]
        for linear in (self.output, *(linear for module in modulations for linear in linears(module))):
            nn.init.zeros_(linear.weight)


class Block(nn.Module):
    """Attention and MLP, each behind a modulated norm and a gate (adaLN-Zero)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )

    def forward(self, tokens_NTW: torch.Tensor, condition_NTW: torch.Tensor) -> torch.Tensor:
        """Tokens [N, T, W] -> tokens."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.modulation(condition_NTW).chunk(6, dim=-1)
        tokens_NTW = tokens_NTW + gate_a * self._attend(modulated_norm(tokens_NTW, shift_a, scale_a))
        return tokens_NTW + gate_m * self.mlp(modulated_norm(tokens_NTW, shift_m, scale_m))

    def _attend(self, tokens_NTW: torch.Tensor) -> torch.Tensor:
        qkv = self.qkv(tokens_NTW).unflatten(-1, (3, NUM_HEADS, -1)).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(*qkv).transpose(1, 2).flatten(2))


def linears(module: nn.Module) -> list[nn.Linear]:
    """All linear layers in a module."""
    return [part for part in module.modules() if isinstance(part, nn.Linear)]


def modulated_norm(
    tokens_NTW: torch.Tensor, shift_NTW: torch.Tensor, scale_NTW: torch.Tensor
) -> torch.Tensor:
    """Layer norm without parameters of its own, then scaled by 1 + scale and shifted."""
    return F.layer_norm(tokens_NTW, tokens_NTW.shape[-1:], eps=1e-6) * (1 + scale_NTW) + shift_NTW


def sinusoids(values: torch.Tensor, dim: int) -> torch.Tensor:
    """(sine, cosine) [..., 2, dim / 2] of each value at frequencies from 1 down to almost 1 / 10,000."""
    frequencies = PERIOD ** (-torch.arange(0, dim, 2, device=values.device) / dim)
    angles = values[..., None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=-2)


def grid_positions(rows: int, columns: int, dim: int) -> torch.Tensor:
    """Position embeddings [rows * columns, dim], row-major: the first half tells the column, the second the row."""
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    halves = [sinusoids(places.flatten().float(), dim // 2).flatten(-2) for places in (column, row)]
    return torch.cat(halves, dim=-1)
