"""C-RADIO v4 (arXiv 2601.17237): RADIO with ten tokens before the patches and another resampling of positions."""

from viral.teachers.families.radio import Radio


class RadioV4(Radio):
    """As `RadioModel` of transformers computes it: position embeddings go from centre to centre of the patches."""

    align_corners = False
