"""ROSS (Wang et al., 2024; Table 6): visual tokens must tell a small diffusion model how to denoise an image's latents.

Latents are a cached teacher like any other: `flux-vae`, as fp16, for their lengths matter. The authors draw a sample of
the autoencoder's posterior at every step; a cache holds its mean.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from viral.errors import ConfigError
from viral.objectives.denoiser import Denoiser
from viral.objectives.term import LossTerm, Shape, TermSettings

NUM_TIMES, REPEATS = 1000, 4
"""Diffusion steps; independent draws of time and noise per image."""


class Ross(LossTerm):
    """Mean squared error of the predicted noise, for each image. The last layer is ROSS, any other ROSS (Middle)."""

    signal: torch.Tensor

    def __init__(self, settings: TermSettings, shape: Shape) -> None:
        super().__init__(settings, shape)
        if len(settings.layers) != 1:
            raise ConfigError(
                f"Objective ross takes one layer, found {list(settings.layers)}; set its layer."
            )
        self.denoiser = Denoiser(
            shape.target_dim, shape.hidden_dim, settings.denoiser_width, settings.denoiser_depth, shape.grid,
            settings.seed,
        )  # fmt: skip
        self.denoiser.requires_grad_(settings.train_head)
        self.register_buffer("signal", signal_shares(), persistent=False)

    def layer_loss(
        self,
        index: int,
        hidden_NTD: torch.Tensor,
        target_NTC: torch.Tensor,
        lengths: Sequence[int] | None = None,
    ) -> torch.Tensor:
        """Draws times and noise from torch's generator, which every step seeds."""
        with torch.autocast(hidden_NTD.device.type, enabled=False):
            condition = F.layer_norm(hidden_NTD.float(), hidden_NTD.shape[-1:]).repeat(REPEATS, 1, 1)
            latents = target_NTC.repeat(REPEATS, 1, 1)
            times = torch.randint(NUM_TIMES, (len(latents),), device=latents.device)
            noise = torch.randn_like(latents)
            signal = self.signal[times, None, None]
            noisy = signal.sqrt() * latents + (1 - signal).sqrt() * noise
            errors = (self.denoiser(noisy, times, condition) - noise).square().mean(dim=(1, 2))
        return errors.view(REPEATS, -1).mean(dim=0)


def signal_shares() -> torch.Tensor:
    """Cumulative signal share of the cosine schedule, float32 [1000]: each step loses at most 0.999 of it."""

    def share(time: float) -> float:
        return math.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2

    kept = [
        max(share((step + 1) / NUM_TIMES) / share(step / NUM_TIMES), 1 - 0.999) for step in range(NUM_TIMES)
    ]
    return torch.tensor(kept, dtype=torch.float64).cumprod(dim=0).float()
