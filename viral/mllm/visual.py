"""Where the visual tokens are in a batch of sequences, and how to get at them.

Shapes: B sequences, L tokens; N images, T visual tokens per image, D width.
"""

import torch

from viral.errors import DataError


class VisualTokens:
    """Image positions of a batch. Images follow each other as their blocks do, sequence by sequence."""

    def __init__(self, is_image_BL: torch.Tensor) -> None:
        self.is_image_BL = is_image_BL

    def scatter(self, base_BLD: torch.Tensor, visual_NTD: torch.Tensor) -> torch.Tensor:
        """`base` with the visual tokens in their places; where no image is, `visual` only joins the graph.

        Raises:
            DataError: the sequences hold another number of image tokens.
        """
        num_images, num_tokens = visual_NTD.shape[:2]
        total = int(self.is_image_BL.sum())
        if total not in (0, num_images * num_tokens):
            raise DataError(
                f"{num_images} images of {num_tokens} tokens, but the sequences hold {total} image tokens; "
                "each image needs its whole block."
            )
        return base_BLD.masked_scatter(self.is_image_BL[..., None], visual_NTD.to(base_BLD.dtype))

    def gather(self, hidden_BLD: torch.Tensor, num_tokens: int, kept_N: torch.Tensor | None) -> torch.Tensor:
        """Hidden states [K, T, D] of the images that `kept` chooses, None being all of them."""
        hidden_NTD = hidden_BLD[self.is_image_BL].view(-1, num_tokens, hidden_BLD.shape[-1])
        return hidden_NTD if kept_N is None else hidden_NTD[kept_N]

    def alone(self, num_tokens: int) -> torch.Tensor:
        """Which images [N] are the only one of their sequence: of the release's valid samples."""
        images_B = self.is_image_BL.sum(dim=1) // num_tokens
        return (images_B == 1).repeat_interleave(images_B)
