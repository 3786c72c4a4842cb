"""Small benchmark folders in the published on-disk formats, written the way the real ones lie there."""

import json
from pathlib import Path

from PIL import Image

from viral.benchmarks.files import write_counts


def write_lines(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def picture(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (40, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


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
