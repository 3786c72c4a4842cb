"""Small benchmark folders in the published on-disk formats, written the way the real ones lie there."""

import csv
import io
import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from typer.testing import CliRunner

from cli.main import app
from viral.benchmarks.files import write_counts


def write_lines(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def picture(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (40, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def png(red: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), (red, 0, 0)).save(buffer, format="PNG")
    return buffer.getvalue()


def write_replies(path: Path, replies: dict[str, str] | Iterable[tuple[str, str]]) -> Path:
    pairs = replies.items() if isinstance(replies, dict) else replies
    return write_lines(path, [{"id": id_, "reply": reply} for id_, reply in pairs])


def viral_score(benchmark: str, data: Path, replies: Path, *options: str) -> dict[str, Any]:
    """What `viral score ... --json` prints."""
    command = ["score", "--benchmark", benchmark, "--data", str(data), "--replies", str(replies), "--json"]
    result = CliRunner().invoke(app, [*command, *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def cvbench_rows(num_count: int, num_relation: int) -> list[dict]:
    rows = []
    for index in range(num_count + num_relation):
        count = index < num_count
        choices = ["3", "1", "0", "2"][: 4 - index % 2] if count else ["left", "right"]
        question = f"How many drums are in the image, number {index}?" if count else "Where is the kite?"
        options = "".join(f"\n({'ABCD'[i]}) {choice}" for i, choice in enumerate(choices))
        rows.append(
            {
                "idx": index,
                "type": "2D",
                "task": "Count" if count else "Relation",
                "image": None,
                "question": question,
                "choices": choices,
                "answer": f"({'ABCD'[index % len(choices)]})",
                "prompt": f"{question} Select from the following choices.{options}",
                "filename": f"img/2D/{index % 5}.png",
                "source": "ADE20K" if index % 3 else "COCO",
            }
        )
    return rows


def cvbench(data: Path, num_count: int = 6, num_relation: int = 4) -> Path:
    """A declared subset with pictures; returns the data folder."""
    folder = data / "cvbench"
    write_lines(folder / "test_2d.jsonl", cvbench_rows(num_count, num_relation))
    write_counts(folder, {"count": num_count, "relation": num_relation})
    for index in range(5):
        picture(folder / f"img/2D/{index}.png", (50 * index, 90, 200 - 40 * index))
    return data


def pope_rows(total: int, split: str) -> list[dict]:
    return [
        {
            "question_id": index + 1,
            "image": f"COCO_val2014_{index % 3:012d}.jpg",
            "text": f"Is there a {split} drum in the image?"
            if index % 4
            else "Is there a drum in the imange?",
            "label": ("yes", "no")[index % 2],
        }
        for index in range(total)
    ]


def pope(data: Path, sizes: tuple[int, int, int] = (6, 4, 4)) -> Path:
    """A declared subset with pictures; returns the data folder."""
    counts = dict(zip(("random", "popular", "adversarial"), sizes, strict=True))
    for split, size in counts.items():
        write_lines(data / "POPE" / f"pope_{split}.jsonl", pope_rows(size, split))
    write_counts(data / "POPE", counts)
    for index in range(3):
        picture(data / "COCO2014/val2014" / f"COCO_val2014_{index:012d}.jpg", (80 * index, 30, 120))
    return data


def mmvp_rows(total: int) -> list[list[str]]:
    """Index, question, options, gold: one question per pair, opposite answers."""
    return [
        [str(index), f"Is lantern {(index - 1) // 2} lit?", "(a) Lit (b) Unlit", f"({'ab'[index % 2]})"]
        for index in range(1, total + 1)
    ]


def write_mmvp(folder: Path, rows: Iterable[Sequence[str]], header: str = "Index") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "Questions.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([[header, "Question", "Options", "Correct Answer"], *rows])
    return folder.parent


def mmvp(data: Path, total: int = 6) -> Path:
    write_mmvp(data / "MMVP", mmvp_rows(total))
    write_counts(data / "MMVP", {"pairs": total})
    for index in range(1, total + 1):
        picture(data / f"MMVP/Images/{index}.jpg", (20 * index, 90, 90))
    return data


WHATSUP = {
    "coco_one": (
        "COCO_QA_one_obj",
        "Where is the drum in the photo? Answer with left, right, top or bottom.",
    ),
    "coco_two": (
        "COCO_QA_two_obj",
        "Where is the drum in relation to the kite? Answer with left, right, above or below.",
    ),
    "controlled_a": (
        "Controlled_Images_A",
        "Where is the drum in relation to the kite? Answer with left, right, on or under.",
    ),
    "controlled_b": (
        "Controlled_Images_B",
        "Where is the drum in relation to the kite? Answer with left, right, front or behind.",
    ),
}
STEMS = {
    "Left": "left_of",
    "Right": "right_of",
    "On": "on",
    "Under": "under",
    "Front": "in-front_of",
    "Behind": "behind",
}


def write_whatsup(folder: Path, golds: dict[str, list[str]], question: str | None = None) -> Path:
    """Splits with these gold words; neighbours share a photo, or four a pair of things."""
    for split, words in golds.items():
        name, asked = WHATSUP[split]
        text = question or f"<image>\nUSER: {asked}\nASSISTANT:"
        write_lines(
            folder / f"prompts/{name}_with_answer_four_options.jsonl",
            [{"id": row, "question": text, "answer": [word]} for row, word in enumerate(words)],
        )
        if split.startswith("coco"):
            rows: list[Any] = [[row // 2, "right", "wrong"] for row in range(len(words))]
            path = folder / f"data/coco_qa_{split[5:]}_obj.json"
        else:
            kind = {"a": "controlled_images", "b": "controlled_clevr"}[split[-1]]
            names = [f"{kind}/drum{row // 4}_{STEMS[word]}_kite.jpeg" for row, word in enumerate(words)]
            rows = [{"image_path": f"data/{name}", "caption_options": ["A", "B", "C", "D"]} for name in names]
            path = folder / f"data/{kind}_dataset.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(rows))
    return folder.parent


def whatsup(data: Path) -> Path:
    golds = {
        "coco_one": ["Left", "Right", "Top", "Bottom"],
        "coco_two": ["Left", "Above"],
        "controlled_a": ["Left", "Right", "On", "Under"],
        "controlled_b": ["Left", "Right", "Front", "Behind"],
    }
    write_whatsup(data / "AdaptVis", golds)
    write_counts(data / "AdaptVis", {split: len(words) for split, words in golds.items()})
    for photo in range(2):
        picture(data / f"AdaptVis/data/val2017/{photo:012d}.jpg", (90, 90, 90 * photo))
    for kind, split in (("controlled_images", "controlled_a"), ("controlled_clevr", "controlled_b")):
        for word in golds[split]:
            picture(data / f"AdaptVis/data/{kind}/drum0_{STEMS[word]}_kite.jpeg", (9, 90, 9))
    return data


CATEGORIES = (
    "coarse perception",
    "fine-grained perception",
    "instance reasoning",
    "logical reasoning",
    "science & technology",
    "math",
)


OPTIONS = "Options: A: a red kite, B: two drums, C: a blue kite, D: none of these"


def mmstar_rows(per_category: int) -> list[dict]:
    return [
        {
            "index": index,
            "question": f"What is shown in {index}?\n{OPTIONS}",
            "answer": "ABCD"[index % 4],
            "category": category,
            "l2_category": f"{category}, axis {number % 3}",
            "meta_info": {"source": "x", "split": "val", "image_path": f"images/{index}.jpg"},
        }
        for index, (category, number) in enumerate(itertools.product(CATEGORIES, range(per_category)))
    ]


def write_parquet(path: Path, rows: Iterable[dict], pictures: Iterable[bytes | None] | None = None) -> Path:
    """The table with an embedded `image`, as `datasets` writes it."""
    rows = list(rows)
    cells = list(pictures) if pictures is not None else [png(index % 256) for index in range(len(rows))]
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(
        [row | {"image": {"bytes": cell, "path": None}} for row, cell in zip(rows, cells, strict=True)]
    )
    pq.write_table(table, path, row_group_size=3)
    return path


def mmstar(data: Path, per_category: int = 4) -> Path:
    write_parquet(data / "MMStar/mmstar.parquet", mmstar_rows(per_category))
    write_counts(data / "MMStar", dict.fromkeys(CATEGORIES, per_category))
    return data


APART = ("artwork", "celebrity", "landmark", "posters", "scene")
QUESTION = "Is there a drum in this image? Please answer yes or no."


def write_mme(folder: Path, images: dict[str, Iterable[str]], *, pictures: bool = True) -> Path:
    """Subtask -> picture names; the first line of each text is answered by Yes, the second by No."""
    for subtask, names in images.items():
        texts = folder / subtask / ("questions_answers_YN" if subtask in APART else "")
        shown = folder / subtask / ("images" if subtask in APART else "")
        texts.mkdir(parents=True, exist_ok=True)
        for name in names:
            (texts / f"{Path(name).stem}.txt").write_text(f"{QUESTION}\tYes\n{QUESTION}\tNo\n")
            if pictures:
                picture(shown / name, (9, 9, 90))
    return folder.parent


def mme(data: Path) -> Path:
    images = {name: ["0001.png", "0002.jpg"] for name in ("existence", "artwork", "code_reasoning")}
    write_mme(data / "MME_Benchmark_release_version", images)
    write_counts(data / "MME_Benchmark_release_version", dict.fromkeys(images, 4))
    return data


WRITERS = {"cvbench": cvbench, "mmvp": mmvp, "whatsup": whatsup, "pope": pope, "mmstar": mmstar, "mme": mme}
