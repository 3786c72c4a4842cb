"""Questions with the replies of every model, chosen and packed for the page's browser."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.progress import bar
from pipelines.report.evaluations import Evaluation
from pipelines.report.pictures import thumbnail
from pipelines.report.text import visible
from viral.benchmarks import Item, Verdict, get_benchmark, judge, load_items, read_replies
from viral.data.image_source import ImageSource
from viral.errors import ImageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """One item with what each model said, in the order of the evaluations; None: that model was not asked."""

    benchmark: str
    item: Item
    replies: list[tuple[str, Verdict] | None]

    @property
    def changed(self) -> bool:
        """Whether another model fixed or broke what the first got right or wrong."""
        first, *others = (reply and reply[1].correct for reply in self.replies)
        return any(None not in (first, other) and first != other for other in others)


@dataclass(kw_only=True, slots=True)
class Packed:
    """What the page carries: a JSON text, and how much of everything it holds."""

    json: str = ""
    held: int = 0
    total: int = 0
    changed_held: int = 0
    changed_total: int = 0
    full: bool = False
    """Whether the limit of bytes, not that of items, ended it."""
    unreadable: int = 0
    """Items shown without their picture."""
    pictures: list[str] = field(default_factory=list)


def answered_items(evaluations: Sequence[Evaluation], data_dir: Path) -> list[Answered]:
    """Every item that any of the models was asked, by benchmark and in the order of its files.

    Raises:
        DataError: damaged replies or items.
    """
    names = dict.fromkeys(name for evaluation in evaluations for name in evaluation.replies)
    return [answered for name in names for answered in _of_benchmark(name, evaluations, data_dir)]


def order(items: Sequence[Answered]) -> list[int]:
    """Positions, the most telling first: what changed, then all others; the tasks take turns in either.

    Inside a task the order is by a hash of the id: any beginning is a sample, and always the same.
    """
    draws = [
        hashlib.sha256(f"{entry.benchmark}/{entry.item.id}".encode(errors="replace")).digest()
        for entry in items
    ]
    turns: Counter[tuple[bool, str, str]] = Counter()
    keys: dict[int, tuple[bool, int, bytes]] = {}
    for index in sorted(range(len(items)), key=draws.__getitem__):
        entry = items[index]
        task = (entry.changed, entry.benchmark, entry.item.group)
        keys[index] = (not entry.changed, turns[task], draws[index])
        turns[task] += 1
    return sorted(keys, key=keys.__getitem__)


def pack(items: Sequence[Answered], labels: Sequence[str], *, max_items: int, max_bytes: int) -> Packed:
    """The first `max_items` of `order`, as far as `max_bytes` of JSON hold them with their pictures."""
    packed = Packed(total=len(items), changed_total=sum(entry.changed for entry in items))
    known: dict[ImageSource, int] = {}
    kept: dict[int, str] = {}
    size = 0
    chosen = order(items)[:max_items]
    with bar(len(chosen), "pictures", True, unit="item") as progress:
        for index in chosen:
            entry = items[index]
            added = [] if entry.item.image in known else _picture(entry.item.image)
            number = known.get(entry.item.image, len(packed.pictures) if added else -1)
            text = _json(_record(entry, number))
            size += len(text.encode()) + sum(map(len, added))
            if size > max_bytes:
                packed.full = True
                break
            known[entry.item.image] = number
            packed.pictures += added
            packed.unreadable += number < 0
            packed.changed_held += entry.changed
            kept[index] = text
            progress.update()
    packed.held = len(kept)
    titles = {entry.benchmark: get_benchmark(entry.benchmark).title for entry in items}
    head = _json(
        {"models": [visible(label) for label in labels], "benchmarks": titles, "pictures": packed.pictures}
    )
    packed.json = f'{head[:-1]},"items":[{",".join(kept[index] for index in sorted(kept))}]}}'
    return packed


def _of_benchmark(name: str, evaluations: Sequence[Evaluation], data_dir: Path) -> list[Answered]:
    spec, profile = get_benchmark(name), evaluations[0].profile
    items = load_items(spec, data_dir, profile)
    sides: list[dict[str, tuple[str, Verdict]]] = []
    for evaluation in evaluations:
        said = read_replies(evaluation.replies[name]) if name in evaluation.replies else {}
        verdicts = judge(spec, items, said, spec.protocols[profile].parse, partial=True)
        sides.append({verdict.item.id: (said[verdict.item.id], verdict) for verdict in verdicts})
    return [
        Answered(benchmark=name, item=item, replies=[side.get(item.id) for side in sides]) for item in items
    ]


def _picture(source: ImageSource) -> list[str]:
    try:
        return [thumbnail(source)]
    except ImageError:
        return []


def _record(entry: Answered, picture: int) -> dict[str, Any]:
    item = entry.item
    return {
        "benchmark": entry.benchmark,
        "id": visible(item.id),
        "task": visible(item.group),
        "picture": picture,
        "question": visible(item.question.strip()),
        "gold": visible(_gold(item)),
        "replies": [
            reply and [visible(reply[0]), _read_as(reply[1]), int(reply[1].correct)]
            for reply in entry.replies
        ],
    }


def _gold(item: Item) -> str:
    """The right answer; of a multiple choice its letter and its text."""
    place = ord(item.answer.upper()) - ord("A") if len(item.answer) == 1 else -1
    if item.answer in item.options or not 0 <= place < len(item.options):
        return item.answer
    return f"{item.answer}: {item.options[place]}"


def _read_as(verdict: Verdict) -> str | None:
    return None if verdict.answer is None else visible(verdict.answer)


def _json(value: Any) -> str:  # noqa: ANN401 - anything JSON can hold
    """JSON that ends no element of HTML."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
