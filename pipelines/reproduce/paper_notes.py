"""What does not add up in the paper's printed numbers; computed from them where it can be."""

from pipelines.reproduce.paper import BENCHMARKS, PaperTable

CVBENCH_ITEMS, MMVP_PAIRS, MMVP_RUNS, MMSTAR_ITEMS, POPE_SPLIT = 1438, 150, 10, 1500, 3000

POOLS = {
    "cvbench": (CVBENCH_ITEMS, "no count of right answers out of 1,438, though most of the paper's are"),
    "mmvp": (MMVP_PAIRS * MMVP_RUNS, "no mean of 10 runs over 150 pairs, which the paper states"),
    "mmstar": (MMSTAR_ITEMS, "no count of right answers out of 1,500"),
    "pope": (
        2 * POPE_SPLIT,
        "no mean of two splits of 3,000 questions; it would be one of LLaVA's 2,910 random and 3,000 popular",
    ),
}
"""Column -> number of equally weighted questions behind a printed value, and what a value is that fits none."""

TABLE_NOTES = {
    "table1": (
        "The text says that alignment improves all models consistently; Qwen2.5-7B loses 0.96 on POPE, and "
        "Vicuna-1.5-7B with CLIP gains nothing on MMStar.",
        "The abstract's \u201cup to 17.3 %\u201d is the relative gain of SigLIPv2 on MMVP; the table has larger ones "
        "(What's Up, 13B: 44.44 to 62.26). Its average of 9.4 % is not the mean of the table's relative gains (7.5 %).",
        "MME was not released. LLaVA's own LoRA model reaches 1,476.9 in perception alone, so 1650.21 would leave "
        "a cognition score below that of a constant answer (200): compare differences, not absolute scores.",
        "The paper does not say which layer it aligns in LLMs of 28 or 40 blocks, nor which SigLIPv2 it uses: here "
        "16, and so400m-patch16-384 (docs/models.md).",
    ),
    "table2": ("The rows DINOv2, 16 of both halves are one model.",),
    "table3": (
        "The caption says 788 spatial reasoning tasks. 788 is the number of CV-Bench's Count questions; Relation, the "
        "spatial ones, has 650. Printed counts fit either reading, so both tasks are reported.",
        "Neither seed nor number of permutations is given: here three seeds, mean and range.",
    ),
    "table4": (
        "The public release has neither (d) nor (e), and evaluates (b) with its addition switched off. Here it is on.",
    ),
    "table5": (
        "Whether several layers share a head is not stated; here they do, the release's default.",
        "The weight of the relation loss is not stated; here 0.5.",
    ),
    "table6": (
        "The text says that alignment beats ROSS on all benchmarks; on MMStar ROSS (default) is ahead, 34.73 to 33.93.",
        "Which code scored the ROSS rows is not stated.",
    ),
}
"""Table -> what a reader should know before comparing with it."""


def is_share(value: float, total: int) -> bool:
    """Whether a percentage, printed with two decimals, is k of `total` for a whole k."""
    nearest = round(value * total / 100)
    return any(
        f"{100 * count / total:.2f}" == f"{value:.2f}" for count in (nearest - 1, nearest, nearest + 1)
    )


def misfit(column: str, value: float) -> str | None:
    """Why a printed value cannot be what its column says it is; None if it can."""
    if column not in POOLS or is_share(value, POOLS[column][0]):
        return None
    return f"{BENCHMARKS[column]} {value:.2f} is {POOLS[column][1]}."


def misfits(table: PaperTable) -> list[str]:
    """The notes of all cells of a table, each once, in the order of reading."""
    found = (
        misfit(column, value)
        for row in table.rows
        for column, value in zip(table.columns, row.values, strict=True)
    )
    return list(dict.fromkeys(note for note in found if note))
