"""What can be reproduced: each table and figure with the runs, the benchmarks and the analyses behind it."""

from dataclasses import dataclass, replace

from pipelines.reproduce.downloads import GQA_RELATIONS
from pipelines.reproduce.paper import TABLE1, TABLE2, TABLE3, TABLE4, TABLE5, TABLE6, PaperRow, PaperTable
from viral.errors import UnknownNameError

BASELINE, VIRAL = "llava15_7b_baseline", "llava15_7b_viral"
RELEASE = "llava15_7b_release"
QUESTIONS = f"{{world}}/{GQA_RELATIONS.places[0]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Analysis:
    """One `viral analyze` command and the recipes whose models it compares, the baseline first.

    Words of its command may hold `{world}`, the folder of data and benchmarks.
    """

    name: str
    recipes: tuple[str, ...] = (BASELINE, VIRAL)
    words: tuple[str, ...] = ()
    at_full: tuple[str, ...] = ()
    at_micro: tuple[str, ...] = ()
    """More words at one of the scales."""
    needs: tuple[str, ...] = ("cvbench",)
    """Benchmarks that it asks."""
    profile: str | None = "clean"
    """How pictures are shown; None: as evaluations of the same request show them."""
    along: bool = False
    """Whether it follows a run through its checkpoints, with the baseline as a line."""
    shows_teachers: bool = False
    """Whether the features in the runs' caches are shown beside the models'."""


PICTURES = ("--benchmark", "cvbench")


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A table or a figure. `shows` says in our words what the paper reports there."""

    name: str
    title: str
    shows: str = ""
    table: PaperTable | None = None
    analyses: tuple[Analysis, ...] = ()

    @property
    def rows(self) -> tuple[PaperRow, ...]:
        """Rows that are trained and evaluated."""
        return self.table.rows if self.table else ()

    @property
    def recipes(self) -> tuple[str, ...]:
        """Every recipe needed, each once, in order: of rows and of analyses."""
        named = [row.recipe for row in self.rows]
        return tuple(dict.fromkeys([*named, *(recipe for job in self.analyses for recipe in job.recipes)]))

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """Benchmarks that its models are asked."""
        return self.table.columns if self.table else ()


def _table(name: str, table: PaperTable) -> Target:
    return Target(name=name, title=table.title, table=table)


FIG2_TABLE = replace(
    TABLE4,
    title="Figure 2(e). Benchmarks of baseline, re-injection and alignment with CLIP (values: Table 4)",
    rows=TABLE4.rows[:3],
)

TARGETS = {
    target.name: target
    for target in (
        _table("table1", TABLE1),
        _table("table2", TABLE2),
        Target(
            name="table3",
            title="Table 3. Robustness to permuted visual tokens",
            shows="Right answers with visual tokens in order and permuted: aligned models lose more of them.",
            analyses=(
                Analysis(
                    name="permutation",
                    recipes=tuple(row.recipe for row in TABLE3),
                    words=PICTURES,
                    profile=None,
                ),
            ),
        ),
        _table("table4", TABLE4),
        _table("table5", TABLE5),
        _table("table6", TABLE6),
        Target(
            name="fig2",
            title="Figure 2. Similarity to the encoder's features, layer by layer",
            shows="CKNNA with CLIP falls after the first layers; re-injection keeps more of it, alignment most.",
            table=FIG2_TABLE,
            analyses=(Analysis(name="cknna", recipes=(BASELINE, "table4_b", "table4_c"), words=PICTURES),),
        ),
        Target(
            name="fig4",
            title="Figure 4. Attention to the image, and its spatial entropy",
            shows="Lower entropy over layers and heads with alignment, above all around the aligned layer.",
            analyses=(
                Analysis(name="attention", words=PICTURES),
                Analysis(
                    name="entropy",
                    needs=(),
                    at_full=("--questions", QUESTIONS, "--images", "{world}/llava-665k/gqa/images"),
                    at_micro=(*PICTURES, "--group", "relation", "--limit", "40"),
                ),
            ),
        ),
        Target(
            name="fig5",
            title="Figure 5. Features at layer 16",
            shows="Aligned features show objects as connected areas; the baseline's are scattered.",
            analyses=(Analysis(name="pca", words=(*PICTURES, "--layers", "0.5")),),
        ),
        Target(
            name="fig6",
            title="Figure 6. Training efficiency",
            shows="Mean of CV-Bench2D and MMVP every 1,000 steps; within 3,000 steps above the finished baseline.",
            analyses=tuple(
                Analysis(
                    name="curve",
                    recipes=(f"{student}_baseline", f"{student}_viral"),
                    needs=("cvbench", "mmvp"),
                    profile=None,
                    along=True,
                )
                for student in ("llava15_7b", "qwen25_7b", "llava15_13b")
            ),
        ),
        Target(
            name="fig9",
            title="Figure 9. The same decline in LLaVA-NeXT",
            shows="CKNNA with the encoder, averaged over the tiles of an image, falls with depth as in Figure 2.",
            analyses=(Analysis(name="cknna", recipes=("llava16_7b_baseline",), words=PICTURES),),
        ),
        Target(
            name="fig10",
            title="Figure 10. Features of every layer",
            shows="Aligned features stay structured in the middle and late layers.",
            analyses=(Analysis(name="pca", words=(*PICTURES, "--layers", "all", "--limit", "2")),),
        ),
        Target(
            name="fig11",
            title="Figure 11. Features at layer 16, aligned with different teachers",
            shows="Each aligned model takes over the structure of its teacher.",
            analyses=(
                Analysis(
                    name="pca",
                    recipes=(BASELINE, "table2_clip", VIRAL, "table2_sam", "table2_dav2", "table2_radio"),
                    words=("--layers", "0.5"),
                    # Pictures of the training data, for of these the caches hold the teachers' features.
                    at_full=("--images", "{world}/llava-665k/coco/train2017"),
                    at_micro=("--images", "{world}/data/images/train"),
                    needs=(),
                    shows_teachers=True,
                ),
            ),
        ),
        Target(
            name="fig12",
            title="Figure 12. Attention of answers to the image",
            shows="Aligned models look at what the question is about.",
            analyses=(Analysis(name="attention", words=PICTURES),),
        ),
    )
}


def get_target(name: str) -> Target:
    """Look a target up by name.

    Raises:
        UnknownNameError: no such table or figure.
    """
    if name not in TARGETS:
        raise UnknownNameError("target", name, list(TARGETS))
    return TARGETS[name]
