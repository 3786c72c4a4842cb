"""The paper's tables as printed: numbers, names of rows and columns, and the recipe that trains each row.

VIRAL, arXiv 2509.07979. What is odd about some numbers: `paper_notes.py`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class PaperRow:
    """One printed row. A row that several tables print is trained once: its `recipe` is the same."""

    recipe: str
    labels: tuple[str, ...]
    values: tuple[float, ...]
    """One for each column of the table; accuracies in percent."""
    deltas: tuple[float, ...] = ()
    """Printed differences to the baseline, if there are any."""
    baseline: str = "llava15_7b_baseline"
    """Recipe of the row that this one is compared with; its own for a baseline."""
    section: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class PaperTable:
    """One printed table: `labels` head the names of rows, `columns` are benchmarks by their name in the registry."""

    title: str
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[PaperRow, ...]


BENCHMARKS = {
    "cvbench": "CV-Bench2D",
    "mmvp": "MMVP",
    "whatsup": "What's Up",
    "pope": "POPE",
    "mmstar": "MMStar",
    "mme": "MME",
}
"""The paper's names of the benchmarks."""

SIX = tuple(BENCHMARKS)
FIVE = ("cvbench", "mmvp", "whatsup", "pope", "mme")
BASELINE = (56.82, 28.20, 40.13, 85.70, 33.93, 1650.21)
DINOV2 = (59.67, 33.33, 48.55, 88.32, 33.93, 1694.52)


def _five(values: tuple[float, ...]) -> tuple[float, ...]:
    """Without MMStar, which Tables 2 and 5 leave out."""
    return (*values[:4], values[5])


def _pair(
    student: str,
    llm: str,
    tower: str,
    before: tuple[float, ...],
    after: tuple[float, ...],
    deltas: tuple[float, ...],
) -> tuple[PaperRow, PaperRow]:
    own = f"{student}_baseline"
    return (
        PaperRow(recipe=own, labels=(llm, tower, "no"), values=before, baseline=own),
        PaperRow(
            recipe=f"{student}_viral", labels=(llm, tower, "yes"), values=after, deltas=deltas, baseline=own
        ),
    )


TABLE1 = PaperTable(
    title="Table 1. With and without alignment, across vision encoders and language models",
    labels=("Language model", "Vision encoder", "L_VRA"),
    columns=SIX,
    rows=(
        *_pair(
            "llava15_7b", "Vicuna-1.5-7B", "CLIP", BASELINE, DINOV2,
            (2.85, 5.13, 8.42, 2.62, 0.00, 44.31),
        ),
        *_pair(
            "llava15_7b_siglip2", "Vicuna-1.5-7B", "SigLIPv2",
            (58.90, 28.22, 40.90, 90.13, 36.53, 1738.96),
            (62.66, 33.11, 44.40, 90.77, 37.20, 1835.62),
            (3.76, 4.89, 3.50, 0.64, 0.67, 96.66),
        ),
        *_pair(
            "qwen25_7b", "Qwen2.5-7B", "CLIP",
            (58.97, 33.47, 59.08, 85.88, 39.20, 1743.56),
            (60.50, 36.07, 63.57, 84.92, 39.67, 1765.65),
            (1.53, 2.60, 4.49, -0.96, 0.47, 22.09),
        ),
        *_pair(
            "llava15_13b", "Vicuna-1.5-13B", "CLIP",
            (57.51, 32.30, 44.44, 87.12, 34.47, 1599.04),
            (58.97, 37.80, 62.26, 87.79, 37.00, 1636.62),
            (1.46, 5.50, 17.82, 0.67, 2.53, 37.58),
        ),
    ),
)  # fmt: skip

_BASELINE_5 = PaperRow(recipe="llava15_7b_baseline", labels=("Baseline", "", ""), values=_five(BASELINE))


def _layer(index: int, *values: float, recipe: str = "") -> PaperRow:
    return PaperRow(
        recipe=recipe or f"table2_layer{index}",
        labels=("DINOv2", str(index)),
        values=values,
        section="target layers",
    )


def _teacher(name: str, recipe: str, *values: float) -> PaperRow:
    return PaperRow(recipe=recipe, labels=(name, "16"), values=values, section="VFMs")


TABLE2 = PaperTable(
    title="Table 2. Ablation of vision foundation models and target layers, LLaVA-1.5-7B",
    labels=("VFM", "Layer"),
    columns=FIVE,
    rows=(
        PaperRow(recipe="llava15_7b_baseline", labels=("Baseline", ""), values=_five(BASELINE)),
        _teacher("DINOv2", "llava15_7b_viral", *_five(DINOV2)),
        _teacher("CLIP", "table2_clip", 59.53, 29.33, 44.50, 88.10, 1548.49),
        _teacher("SAM", "table2_sam", 57.58, 30.27, 49.84, 88.34, 1648.77),
        _teacher("DAv2", "table2_dav2", 58.55, 28.67, 47.29, 88.70, 1682.42),
        _teacher("RADIO", "table2_radio", 57.59, 31.80, 47.35, 88.52, 1692.94),
        _layer(4, 58.55, 30.67, 45.05, 87.68, 1720.36),
        _layer(8, 58.28, 27.70, 48.32, 88.43, 1662.67),
        _layer(12, 57.77, 28.59, 48.19, 88.27, 1648.88),
        _layer(16, *_five(DINOV2), recipe="llava15_7b_viral"),
        _layer(20, 55.22, 27.41, 48.04, 88.39, 1705.97),
        _layer(24, 55.77, 27.48, 47.99, 88.10, 1740.55),
        _layer(28, 54.87, 27.19, 47.82, 88.56, 1755.86),
        _layer(32, 56.12, 26.52, 47.60, 87.32, 1678.69),
    ),
)

TABLE4 = PaperTable(
    title="Table 4. Pilot study: ways to keep visual information, LLaVA-1.5-7B",
    labels=("Row", "What is done at layer 16"),
    columns=("pope", "cvbench", "mmvp"),
    rows=(
        PaperRow(recipe="llava15_7b_baseline", labels=("Baseline", ""), values=(85.70, 56.82, 28.20)),
        PaperRow(recipe="table4_b", labels=("(b)", "projected features added"), values=(87.17, 57.51, 26.67)),
        PaperRow(recipe="table4_c", labels=("(c)", "aligned to CLIP"), values=(88.10, 59.53, 29.33)),
        PaperRow(recipe="table4_d", labels=("(d)", "raw features added"), values=(85.47, 53.62, 19.33)),
        PaperRow(
            recipe="table4_e", labels=("(e)", "aligned to projected features"), values=(86.99, 57.23, 28.53)
        ),
    ),
)

_MULTI, _OBJECTIVES = "multi-layer targets", "alignment objectives"
TABLE5 = PaperTable(
    title="Table 5. Ablation of the number of target layers and of the objective, LLaVA-1.5-7B",
    labels=("VFM", "Layers", "Objective"),
    columns=FIVE,
    rows=(
        _BASELINE_5,
        PaperRow(
            recipe="llava15_7b_viral", labels=("DINOv2", "16", "cosine"), values=_five(DINOV2), section=_MULTI
        ),
        PaperRow(
            recipe="table5_layers15to17",
            labels=("DINOv2", "15-17", "cosine"),
            values=(59.32, 28.00, 47.17, 87.61, 1639.72),
            section=_MULTI,
        ),
        PaperRow(
            recipe="table5_layers14to18",
            labels=("DINOv2", "14-18", "cosine"),
            values=(49.62, 22.55, 42.58, 87.90, 1444.32),
            section=_MULTI,
        ),
        PaperRow(
            recipe="llava15_7b_viral",
            labels=("DINOv2", "16", "cosine"),
            values=_five(DINOV2),
            section=_OBJECTIVES,
        ),
        PaperRow(
            recipe="table5_relation",
            labels=("DINOv2", "16", "relation"),
            values=(58.83, 26.60, 49.05, 87.58, 1674.30),
            section=_OBJECTIVES,
        ),
    ),
)

TABLE6 = PaperTable(
    title="Table 6. Alignment beside a reconstructive objective, Vicuna-1.5-7B with CLIP",
    labels=("Objective",),
    columns=SIX,
    rows=(
        PaperRow(recipe="llava15_7b_baseline", labels=("Baseline",), values=BASELINE),
        PaperRow(
            recipe="table6_ross",
            labels=("ROSS (default)",),
            values=(54.24, 29.73, 43.57, 88.19, 34.73, 1648.87),
        ),
        PaperRow(
            recipe="table6_ross_middle",
            labels=("ROSS (middle)",),
            values=(56.05, 31.40, 45.98, 88.21, 33.53, 1647.27),
        ),
        PaperRow(recipe="llava15_7b_viral", labels=("VIRAL",), values=DINOV2),
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shuffle:
    """A row of Table 3: right answers of `total` with the tokens in order, and permuted."""

    recipe: str
    labels: tuple[str, ...]
    original: int
    shuffled: int
    drop: int
    drop_percent: float


TABLE3_TITLE = "Table 3. Robustness to permuted visual tokens: right answers on CV-Bench2D"
TABLE3_LABELS = ("Vision encoder", "L_VRA")
TABLE3_TOTAL = 788
"""As printed; see `paper_notes.py`."""
TABLE3 = (
    Shuffle(recipe="llava15_7b_baseline", labels=("CLIP", "no"), original=400, shuffled=374, drop=26, drop_percent=6.5),
    Shuffle(recipe="llava15_7b_viral", labels=("CLIP", "yes"), original=414, shuffled=360, drop=54, drop_percent=13.0),
    Shuffle(
        recipe="llava15_7b_siglip2_baseline", labels=("SigLIPv2", "no"), original=374, shuffled=353, drop=21,
        drop_percent=5.6,
    ),
    Shuffle(
        recipe="llava15_7b_siglip2_viral", labels=("SigLIPv2", "yes"), original=436, shuffled=353, drop=83,
        drop_percent=19.0,
    ),
)  # fmt: skip
