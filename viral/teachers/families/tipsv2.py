"""TIPSv2 (Google DeepMind, arXiv 2604.12012): DINOv2's architecture, one register token, pixels left in [0, 1]."""

from viral.teachers.families.timm_port import TimmPort


class TipsV2(TimmPort):
    """Reads Google's files, image and text together, and timm's. Unlike DINOv2's, positions go bilinearly."""

    interpolation = "bilinear"
