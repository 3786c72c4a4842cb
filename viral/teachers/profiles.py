"""How a teacher is fed and kept: every choice the paper leaves open is a field, a profile presets them all.

`paper` follows the text, and where it is silent feeds the teacher the pixels it was trained with. `release`
repeats the published code: its teacher gets CLIP-normalised pixels, enlarged after normalisation, and loses every
linear layer to random numbers when the language model is loaded. `native` follows the teacher's own code.
"""

from dataclasses import dataclass

from viral.errors import ConfigError, UnknownNameError

CHOICES = {
    "normalisation": ("own", "clip"),
    "resize": ("picture", "tensor"),
    "pos_embed": ("timm", "dinov2"),
    "placement": ("centre", "corner"),
    "dtype": ("auto", "float32", "bfloat16", "float16"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """The resolved knobs of one teacher run; those that its family has go into the fingerprint."""

    name: str
    normalisation: str = "own"
    """Pixel statistics: the teacher's `own`, or `clip`'s."""
    resize: str = "picture"
    """Where the teacher's size comes from: the `picture`, resized once and with antialiasing, or the student's
    normalised `tensor`, enlarged bilinearly in the teacher's precision."""
    pos_embed: str = "timm"
    """Resampling of position embeddings to another grid: `timm` (bicubic, antialiased) or `dinov2` (bicubic,
    offset 0.1, no antialias; with registers: no offset, antialiased)."""
    placement: str = "centre"
    """Where SAM's picture lies on its canvas of zeros: in the `centre`, or in the top left `corner`."""
    scramble_seed: int | None = None
    """Not None: every linear layer is overwritten with N(0, 0.02) and zero bias, drawn with this seed."""
    dtype: str = "auto"
    """Weights and arithmetic; `auto` is bfloat16 on CUDA and float32 elsewhere."""

    def __post_init__(self) -> None:
        for field, known in CHOICES.items():
            if getattr(self, field) not in known:
                raise ConfigError(
                    f"Unknown teacher {field} {getattr(self, field)!r}. Known: {', '.join(known)}."
                )


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(name="paper"),
        Profile(name="release", normalisation="clip", resize="tensor", scramble_seed=0, dtype="bfloat16"),
        Profile(name="native", pos_embed="dinov2", placement="corner"),
    )
}


def get_profile(name: str) -> Profile:
    """Look a profile up by name.

    Raises:
        UnknownNameError: no such profile.
    """
    if name not in PROFILES:
        raise UnknownNameError("profile", name, list(PROFILES))
    return PROFILES[name]
