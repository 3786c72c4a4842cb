"""What a student that sees tiles rules out."""

from pipelines.training.config import TrainConfig
from viral.errors import ConfigError
from viral.mllm.aligned import MAIN
from viral.objectives import get_objective


def check_tiled(config: TrainConfig, *, with_vision: bool = False) -> None:
    """Make sure that a run of a student that sees tiles asks for nothing that they rule out.

    Raises:
        ConfigError: it does.
    """
    reasons = {
        "--vision-cache holds one view of each picture; leave it out": with_vision,
        "stage one (viral pretrain) has whole pictures; drop model.tiles, its projector serves both": not config.lora,
        "data.image_mode=crop leaves parts of pictures out; set data.image_mode=pad": config.data.image_mode
        != "pad",
    }
    for name, term in config.terms.items():
        group = name if name == MAIN else f"also.{name}"
        objective = get_objective(term.objective)
        reasons |= {
            f"{group}.averaging=release counts blocks of one length; set {group}.averaging=image": (
                term.averaging == "release"
            ),
            f"{group}.objective={term.objective} needs whole grids; use align, relation or align_projected": (
                objective is not None and not objective.takes_tiles
            ),
        }
    if wrong := [reason for reason, found in reasons.items() if found]:
        raise ConfigError(f"This student sees tiles, which does not fit: {'; '.join(wrong)}.")
