"""Benchmarks of the micro-world, in the on-disk layouts of CV-Bench 2D, MMVP, What's Up, POPE, MMStar and MME."""

from pathlib import Path

from viral.microworld.benchmarks.cvbench import write_cv_bench
from viral.microworld.benchmarks.mme import write_mme
from viral.microworld.benchmarks.mmstar import write_mmstar
from viral.microworld.benchmarks.mmvp import write_mmvp
from viral.microworld.benchmarks.pope import write_pope
from viral.microworld.benchmarks.whatsup import write_whatsup
from viral.microworld.files import new_folder

__all__ = ["write_benchmarks"]


def write_benchmarks(
    out: Path,
    *,
    num_count: int = 600,
    num_relation: int = 600,
    num_pairs: int = 150,
    num_pope_images: int = 200,
    num_coco: int = 96,
    num_sets: int = 16,
    num_per_category: int = 48,
    num_mme_images: int = 15,
    seed: int = 0,
) -> None:
    """Write one folder per benchmark, and `COCO2014/val2014/`, below `out`. Same arguments, same bytes.

    Args:
        out: a new folder.
        num_count: CV-Bench's Count questions.
        num_relation: its Relation questions.
        num_pairs: MMVP's pairs.
        num_pope_images: POPE's pictures, of six questions in each of three splits.
        num_coco: questions of each of What's Up's two COCO splits.
        num_sets: sets of four pictures in each of its two controlled splits.
        num_per_category: questions of each of MMStar's six categories.
        num_mme_images: pictures, of two questions, of each of MME's subtasks.
        seed: of everything.

    Raises:
        DataError: `out` exists and is not an empty folder.
    """
    with new_folder(out) as folder:
        write_cv_bench(folder / "cvbench", num_count, num_relation, seed)
        write_mmvp(folder / "MMVP", num_pairs, seed)
        write_pope(folder, num_pope_images, seed)
        write_whatsup(folder / "AdaptVis", num_coco, num_sets, seed)
        write_mmstar(folder / "MMStar", num_per_category, seed)
        write_mme(folder / "MME_Benchmark_release_version", num_mme_images, seed)
