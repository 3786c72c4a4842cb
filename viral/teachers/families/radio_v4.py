"""C-RADIO v4 (NVIDIA, 2026): RADIO with three class tokens, seven registers, and another resampling of positions."""

from viral.teachers.families.radio import Radio


class RadioV4(Radio):
    """As `RadioModel` of transformers computes it: position embeddings go from centre to centre of the patches."""

    align_corners = False
