"""Where the visual tokens are in a batch of sequences, and how to get at them.

Shapes: B sequences, L tokens; N images, or all their views where they are tiled, T patches of each, M visual tokens,
P of them that show a patch, D width.
"""

from dataclasses import dataclass

import torch

from viral.errors import DataError


@dataclass(frozen=True, slots=True)
class TokenMap:
    """How the visual tokens of tiled images follow from the patches of all their views."""

    index: torch.Tensor
    """[M] into the N * T patches, on the host; -1 where a row of tiles ends."""
    lengths: list[int]
    """Tokens of each image that show a patch."""

    def lay_out(self, visual_NTD: torch.Tensor, newline_D: torch.Tensor | None = None) -> torch.Tensor:
        """The visual tokens [M, D] of all images, given the patches of their views; no newline means zeros.

        Without images both are handed back, to join a graph.
        """
        patches_PD = visual_NTD.flatten(0, 1)
        end_D = (
            patches_PD.new_zeros(patches_PD.shape[1]) if newline_D is None else newline_D.to(patches_PD.dtype)
        )
        tokens_PD = torch.cat([patches_PD, end_D[None]])  # whose last one index -1 picks
        return tokens_PD[self.index.to(tokens_PD.device)] if len(self.index) else tokens_PD


class VisualTokens:
    """Image positions of a batch. Images follow each other as their blocks do, sequence by sequence.

    An image is a block of its T patches or, with a `token_map`, of what that picks from the patches of its views.
    """

    def __init__(self, is_image_BL: torch.Tensor, token_map: TokenMap | None = None) -> None:
        self.is_image_BL, self.token_map = is_image_BL, token_map
        self.lengths: list[int] | None = None
        """Of the images in the row that `gather` makes of tiled ones."""
        if token_map is not None:
            self.lengths = token_map.lengths
            self._index_M = token_map.index.to(is_image_BL.device)
            self._patches_P = token_map.index[token_map.index >= 0].to(is_image_BL.device)

    def scatter(
        self, base_BLD: torch.Tensor, visual_NTD: torch.Tensor, newline_D: torch.Tensor | None = None
    ) -> torch.Tensor:
        """`base` with the visual tokens in their places; where no image is, they only join the graph.

        `newline` ends each row of tiles, zeros do without it.

        Raises:
            DataError: the sequences hold another number of image tokens.
        """
        tokens = self.token_map
        tokens_MD = visual_NTD.flatten(0, 1) if tokens is None else tokens.lay_out(visual_NTD, newline_D)
        total = int(self.is_image_BL.sum())
        if total not in (0, len(tokens_MD)):
            raise DataError(
                f"{self.num_images(visual_NTD)} images of {len(tokens_MD)} tokens together, but the sequences hold "
                f"{total} image tokens; each image needs its whole block."
            )
        return base_BLD.masked_scatter(self.is_image_BL[..., None], tokens_MD.to(base_BLD.dtype))

    def num_images(self, visual_NTD: torch.Tensor) -> int:
        """Images that these are the patches of."""
        return len(visual_NTD) if self.lengths is None else len(self.lengths)

    def gather(
        self, hidden_BLD: torch.Tensor, num_tokens: int, kept_N: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Hidden states [K, T, D] of the images that `kept` chooses, None being all of them.

        Tiled images differ in length: they are one row of all tokens that show a patch.
        """
        hidden_MD = hidden_BLD[self.is_image_BL]
        if self.lengths is not None:
            return hidden_MD[self._index_M >= 0][None]
        hidden_NTD = hidden_MD.view(-1, num_tokens, hidden_BLD.shape[-1])
        return hidden_NTD if kept_N is None else hidden_NTD[kept_N]

    def arrange(self, target_NTC: torch.Tensor, kept_N: torch.Tensor | None = None) -> torch.Tensor:
        """What belongs to patches (teacher's features, or the tower's) in the order and shape of `gather`."""
        if self.lengths is not None:
            return target_NTC.flatten(0, 1)[self._patches_P][None]
        return target_NTC if kept_N is None else target_NTC[kept_N]

    def alone(self, num_tokens: int) -> torch.Tensor:
        """Which images [N] are the only one of their sequence: of the release's valid samples. Not for tiled ones."""
        images_B = self.is_image_BL.sum(dim=1) // num_tokens
        return (images_B == 1).repeat_interleave(images_B)
