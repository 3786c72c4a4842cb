"""MME: yes/no questions in fourteen subtasks, two about each picture (`MME_Benchmark_release_version`).

On disk: one folder per subtask, as published: unpacked, with or without a level above, or the zip itself. Each picture
has a `.txt` of two lines `question<TAB>Yes|No`, beside it or in `questions_answers_YN/`. Or lmms-lab/MME's parquet.
"""

import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from viral.benchmarks.base import Benchmark, Item, Protocol, Verdict, all_correct, by
from viral.benchmarks.files import required_files
from viral.benchmarks.parsers import lenient_yes_no, lmms_mme_yes_no, mme_yes_no, strict_yes_no
from viral.benchmarks.tables import field, read_parquet, read_text
from viral.data.image_source import ImageSource, ZipMember, open_zip
from viral.errors import DataError, one_line

PERCEPTION = {
    **dict.fromkeys(("existence", "count", "position", "color"), 30),
    "posters": 147,
    "celebrity": 170,
    "scene": 200,
    "landmark": 200,
    "artwork": 200,
    "OCR": 20,
}
COGNITION = {
    "commonsense_reasoning": 70,
    **dict.fromkeys(("numerical_calculation", "text_translation", "code_reasoning"), 20),
}
"""Subtask -> number of pictures."""
ENDING = " Please answer yes or no."
QUESTIONS, PICTURES = "questions_answers_YN", "images"
SUFFIXES = (".jpg", ".jpeg", ".png")
PARQUET = ("test-*.parquet", "data/test-*.parquet", "test.parquet")

_SUBTASKS = {name.lower(): name for name in (*PERCEPTION, *COGNITION)}


def _layouts(subtask: str) -> tuple[str, ...]:
    texts = [f"{level}{subtask}{folder}/*.txt" for level in ("", "*/") for folder in ("", f"/{QUESTIONS}")]
    return (*texts, *PARQUET, "*.zip")


def _load(folder: Path, groups: Sequence[str]) -> list[Item]:
    found = {group: required_files(folder, _layouts(group)) for group in groups}
    first = next(iter(found.values()))
    if first[0].suffix == ".parquet":
        rows = (_row(row, where) for path in first for where, row in read_parquet(path))
        return [item for item in _items(rows) if item.group in groups]
    if first[0].suffix == ".zip":
        files: Mapping[str, ImageSource] = _archive(first[0])
    else:
        files = {
            path.relative_to(folder).as_posix(): path
            for folder_of_texts in {path.parent for paths in found.values() for path in paths}
            for path in (*folder_of_texts.iterdir(), *folder_of_texts.parent.glob(f"{PICTURES}/*"))
        }
    return [item for item in _items(_lines(files)) if item.group in groups]


def _archive(path: Path) -> dict[str, ImageSource]:
    try:
        return {name: ZipMember(path, name) for name in sorted(open_zip(path).namelist())}
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} cannot be opened ({one_line(error)}); it is damaged or cut short, fetch it again."
        ) from error


Row = tuple[str, str, str, ImageSource, str, str]
"""Place for messages, subtask, picture's file name, picture, question, answer."""


def _lines(files: Mapping[str, ImageSource]) -> Iterator[Row]:
    """The questions in the text files among `files` (path below the root -> file)."""
    pictures, texts = {}, {}
    for name, source in files.items():
        path = PurePosixPath(name)
        folder = path.parent.parent if path.parent.name in (QUESTIONS, PICTURES) else path.parent
        subtask = _SUBTASKS.get(folder.name.lower())
        if subtask is None or path.name.startswith("."):
            continue
        if path.suffix == ".txt":
            texts[subtask, path.stem] = source
        elif path.suffix.lower() in SUFFIXES:
            pictures[subtask, path.stem] = (path.name, source)
    for (subtask, stem), text in sorted(texts.items()):
        lines = [line for line in read_text(text).split("\n") if line.strip()]
        if len(lines) != 2:
            raise DataError(f"{text} has {len(lines)} lines, expected two of the form question<TAB>Yes|No.")
        # Without its picture a question can still be scored.
        image, picture = pictures.get((subtask, stem), (stem, Path(f"{text} (its picture)")))
        for number, line in enumerate(lines, start=1):
            question, _, answer = line.rpartition("\t")
            yield f"{text} line {number}", subtask, image, picture, question, answer.strip()


def _row(row: Mapping[str, object], where: str) -> Row:
    """A row of the parquet files, whose `question_id` is `subtask/file`."""
    category = field(row, "category", str, where)
    image = PurePosixPath(field(row, "question_id", str, where)).name
    texts = [field(row, name, str, where) for name in ("question", "answer")]
    return where, _SUBTASKS.get(category.lower(), category), image, row["image"], texts[0], texts[1].strip()  # type: ignore[return-value]


def _items(rows: Iterable[Row]) -> list[Item]:
    """Items in order; the two questions of a picture, told apart by their order, are one cluster."""
    items: list[Item] = []
    asked: dict[str, int] = {}
    for where, subtask, image, picture, question, answer in rows:
        if answer not in ("Yes", "No") or not question:
            raise DataError(f"{where}: answer {answer!r}; expected question<TAB>Yes or question<TAB>No.")
        key = f"{subtask}/{image}"
        number = asked[key] = asked.get(key, -1) + 1
        items.append(
            Item(
                id=f"{key}/{number}",
                group=subtask,
                cluster=key,
                image=picture,
                question=question,
                answer=answer.lower(),
                options=("yes", "no"),
            )
        )
    return items


def short_question(item: Item) -> str:
    """LLaVA's wording: without " Please answer yes or no."; seven questions had two blanks there and keep one."""
    return item.question.replace(ENDING, "")


def subtask_scores(verdicts: Sequence[Verdict]) -> dict[str, dict[str, float | None]]:
    """Per subtask in percent: `acc` over questions, `acc_plus` over pictures with both right, their sum `score`."""
    scores: dict[str, dict[str, float | None]] = {}
    for subtask, members in by(verdicts, lambda item: item.group).items():
        pictures = by(members, lambda item: item.cluster)
        acc = 100 * sum(verdict.correct for verdict in members) / len(members)
        acc_plus = 100 * all_correct(pictures.values(), 2) / len(pictures)
        scores[subtask] = {"acc": acc, "acc_plus": acc_plus, "score": acc + acc_plus}
    return scores


def total_score(verdicts: Sequence[Verdict]) -> float | None:
    """The paper's score: perception and cognition, at most 200 for each of the fourteen subtasks."""
    scores = subtask_scores(verdicts)
    return sum(entry["score"] or 0.0 for entry in scores.values()) if scores else None


def _details(verdicts: Sequence[Verdict]) -> dict[str, object]:
    perception = [verdict for verdict in verdicts if verdict.item.group in PERCEPTION]
    cognition = [verdict for verdict in verdicts if verdict.item.group in COGNITION]
    return {
        "subtasks": subtask_scores(verdicts),
        "perception": total_score(perception),
        "cognition": total_score(cognition),
        "total": total_score(verdicts),
    }


def _same_id(id_: str) -> str:
    """Without the picture's suffix, which the text files do not know."""
    return re.sub(r"\.(jpe?g|png)(?=/[^/]*$)", "", id_, flags=re.IGNORECASE)


# The release has no script for MME, so both profiles ask as LLaVA does and read as MME's own tool.
_PROTOCOL = Protocol(
    ask=short_question,
    suffix="\nAnswer the question using a single word or phrase.",
    max_new_tokens=128,
    parse=mme_yes_no,
    rule="yes, else no, in the first four characters; per subtask accuracy plus share of pictures with both right",
    headline_name="perception + cognition",
    headline=total_score,
    maximum=200.0 * len(_SUBTASKS),
)

MME = Benchmark(
    name="mme",
    title="MME",
    folder="MME_Benchmark_release_version",
    spellings=("MME_Benchmark",),
    counts={name: (2 * pictures,) for name, pictures in {**PERCEPTION, **COGNITION}.items()},
    layouts=_layouts,
    load=_load,
    protocols={"paper": _PROTOCOL, "clean": _PROTOCOL},
    rules={
        "official": mme_yes_no,
        "strict": strict_yes_no,
        "lenient": lenient_yes_no,
        "lmms_eval": lmms_mme_yes_no,
        "vlmevalkit": lenient_yes_no,
    },
    details=_details,
    same_id=_same_id,
)
