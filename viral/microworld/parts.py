"""Where the packaged parts lie: LLM, vision tower, projector and teacher, as a user would have them."""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
LLM, TOWER, PROJECTOR, TEACHER = "llm", "tower", "projector", "teacher"
PROJECTOR_FILE = "projector/projector.safetensors"
TEACHER_FILE = "teacher/model.safetensors"


def parts(root: Path = WEIGHTS) -> dict[str, str]:
    """Paths of the parts below `root`.

    `llm` and `tower` are Hugging Face folders (with tokenizer, with image processor), `projector` and
    `teacher` safetensors files (`linear_1`/`linear_2`, and a timm state dict).
    """
    return {
        LLM: str(root / "llm"),
        TOWER: str(root / "tower"),
        PROJECTOR: str(root / PROJECTOR_FILE),
        TEACHER: str(root / TEACHER_FILE),
    }
