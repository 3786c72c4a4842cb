"""POPE: yes/no questions on objects that are or are not in a COCO picture (github.com/AoiDragon/POPE).

On disk: `POPE/pope_{random,popular,adversarial}.jsonl` or POPE's own `coco_pope_<split>.json`, and the pictures beside
it in `COCO2014/val2014/`. The release's own folder has no adversarial file, and its headline needs none.
"""

from collections.abc import Sequence
from pathlib import Path

from viral.benchmarks.base import Benchmark, Item, Protocol, Verdict, accuracy, mean, percent
from viral.benchmarks.files import image_path, required_files
from viral.benchmarks.parsers import lenient_yes_no, official_yes_no, release_yes_no, strict_yes_no
from viral.benchmarks.tables import field, read_rows
from viral.errors import DataError

SPLITS = ("random", "popular", "adversarial")


def _layouts(split: str) -> tuple[str, ...]:
    names = [f"{stem}_{split}.{suffix}" for stem in ("pope", "coco_pope") for suffix in ("jsonl", "json")]
    return tuple(folder + name for folder in ("", "coco/", "output/coco/") for name in names)


def _load(folder: Path, groups: Sequence[str]) -> list[Item]:
    images = folder.parent / "COCO2014" / "val2014"
    return [
        _item(row, split, images, where)
        for split in groups
        for where, row in read_rows(required_files(folder, _layouts(split))[0])
    ]


def _item(row: dict[str, object], split: str, images: Path, where: str) -> Item:
    label = field(row, "label", str, where)
    if label not in ("yes", "no"):
        raise DataError(f"{where}: label {label!r}; expected 'yes' or 'no'.")
    picture = field(row, "image", str, where)
    return Item(
        id=f"{split}/{field(row, 'question_id', (int, str), where)}",
        group=split,
        cluster=picture,  # the three splits ask about the same pictures
        image=image_path(images, picture, where),
        question=field(row, "text", str, where),
        answer=label,
        options=("yes", "no"),
    )


def confusion(verdicts: Sequence[Verdict]) -> dict[str, float | None]:
    """Counts and percentages of one split, "yes" being the positive class.

    An unread answer is neither yes nor no: it misses a gold yes and is no true negative. lmms-eval leaves such
    answers out of recall and F1 (`..._of_read`), and prints as yes-ratio that of the labels. `yes_ratio` is the
    model's.
    """
    cells = [(verdict.item.answer, verdict.answer) for verdict in verdicts]
    tp, fp = cells.count(("yes", "yes")), cells.count(("no", "yes"))
    tn, fn = cells.count(("no", "no")), cells.count(("yes", "no"))
    gold_yes = sum(gold == "yes" for gold, _ in cells)
    return {
        "tp": tp,
        "fp": fp,
        "tn": tn,
        "fn": fn,
        "accuracy": percent(tp + tn, len(cells)),
        "precision": percent(tp, tp + fp),
        "recall": percent(tp, gold_yes),
        "f1": percent(2 * tp, tp + fp + gold_yes),
        "recall_of_read": percent(tp, tp + fn),
        "f1_of_read": percent(2 * tp, 2 * tp + fp + fn),
        "yes_ratio": percent(tp + fp, len(cells)),
        "label_yes_ratio": percent(gold_yes, len(cells)),
    }


def _split(verdicts: Sequence[Verdict], name: str) -> list[Verdict]:
    return [verdict for verdict in verdicts if verdict.item.group == name]


def mean_accuracy(verdicts: Sequence[Verdict]) -> float | None:
    """The paper's score: mean accuracy of the random and the popular split; adversarial is left out."""
    return mean([accuracy(_split(verdicts, name)) for name in ("random", "popular")])


def mean_f1(verdicts: Sequence[Verdict]) -> float | None:
    """LLaVA's score: mean F1 of the three splits."""
    return mean([confusion(_split(verdicts, name))["f1"] for name in SPLITS])


def _details(verdicts: Sequence[Verdict]) -> dict[str, object]:
    present = [name for name in SPLITS if _split(verdicts, name)]
    return {
        "splits": {name: confusion(_split(verdicts, name)) for name in present},
        "mean_accuracy_random_popular": mean_accuracy(verdicts),
        "mean_f1": mean_f1(verdicts),
        "pooled_accuracy_random_popular": accuracy(
            [verdict for verdict in verdicts if verdict.item.group in ("random", "popular")]
        ),
    }


POPE = Benchmark(
    name="pope",
    title="POPE",
    folder="POPE",
    # The random file LLaVA links has 2,910 items, today's has 3,000; the paper's digits fit the former.
    counts={"random": (2910, 3000), "popular": (3000,), "adversarial": (3000,)},
    layouts=_layouts,
    load=_load,
    protocols={
        "paper": Protocol(
            suffix=" Answer with only 'yes' or 'no'.",
            max_new_tokens=10,
            parse=release_yes_no,
            rule="word yes, else word no, else a syllable list; mean of random and popular",
            headline_name="mean accuracy",
            headline=mean_accuracy,
            optional=("adversarial",),
        ),
        "clean": Protocol(
            suffix="\nAnswer the question using a single word or phrase.",
            max_new_tokens=128,
            parse=official_yes_no,
            rule="no, No or not in the first sentence is no, anything else yes; mean F1 of three splits",
            headline_name="mean F1",
            headline=mean_f1,
        ),
    },
    rules={
        "viral": release_yes_no,
        "official": official_yes_no,
        "strict": strict_yes_no,
        "lenient": lenient_yes_no,
        "lmms_eval": strict_yes_no,
        "vlmevalkit": lenient_yes_no,
    },
    details=_details,
)
