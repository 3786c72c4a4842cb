"""From replies to scores; needs no model and no pictures, and can be repeated under any profile."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from viral.benchmarks.base import Benchmark, Item, Parser, Verdict, accuracy, get_profile, mean, percent
from viral.benchmarks.files import field, read_jsonl
from viral.benchmarks.stats import wilson
from viral.errors import DataError


def read_replies(path: Path) -> dict[str, str]:
    """Item id -> raw reply, from JSON lines with `id` and `reply`.

    Raises:
        DataError: missing, empty or damaged file, a line without the two fields, or an id that comes twice.
    """
    replies: dict[str, str] = {}
    for where, row in read_jsonl(path):
        id_ = str(field(row, "id", (int, str), where))
        if id_ in replies:
            raise DataError(f"{where}: id {id_} has been answered before; each item may have one reply.")
        replies[id_] = field(row, "reply", str, where)
    return replies


def judge(
    benchmark: Benchmark,
    items: Sequence[Item],
    replies: Mapping[str, str],
    parse: Parser,
    *,
    partial: bool = False,
) -> list[Verdict]:
    """One verdict per item, in item order.

    Raises:
        DataError: a reply to no item of this benchmark, or an item without reply and `partial` is off.
    """
    known = {item.id for item in items}
    if foreign := sorted(replies.keys() - known):
        raise DataError(
            f"{len(foreign)} of {len(replies)} replies answer no item of {benchmark.title}, first id "
            f"{foreign[0]!r}; they belong to another benchmark or to other data: see --benchmark and --data."
        )
    missing = [item.id for item in items if item.id not in replies]
    if missing and not partial:
        raise DataError(
            f"{len(missing)} of {len(items)} items of {benchmark.title} have no reply, first {missing[0]!r}; "
            "finish the generation, or score what is there with --partial."
        )
    return [Verdict(item, parse(replies[item.id], item)) for item in items if item.id in replies]


def summarise(
    benchmark: Benchmark,
    items: Sequence[Item],
    replies: Mapping[str, str],
    profile: str,
    *,
    partial: bool = False,
) -> dict[str, Any]:
    """Scores of one benchmark as plain JSON values; percentages are 0 to 100.

    Raises:
        UnknownNameError: no such profile.
        DataError: replies and items do not belong together (see `judge`).
    """
    protocol = benchmark.protocols[get_profile(profile).name]
    verdicts = judge(benchmark, items, replies, protocol.parse, partial=partial)
    unread = sum(verdict.answer is None for verdict in verdicts)
    by_group = {group: [v for v in verdicts if v.item.group == group] for group in benchmark.counts}
    return {
        "benchmark": benchmark.name,
        "profile": profile,
        "rule": protocol.rule,
        "items": len(items),
        "scored": len(verdicts),
        "published_size": _published_size(benchmark, items, protocol.optional),
        "headline": {"name": protocol.headline_name, "percent": protocol.headline(verdicts)},
        "overall": tally(verdicts),
        "groups": {group: tally(members) for group, members in by_group.items() if members},
        "unparsed": {"count": unread, "percent": percent(unread, len(verdicts))},
        "diagnostic": {
            name: accuracy(
                [Verdict(verdict.item, parse(replies[verdict.item.id], verdict.item)) for verdict in verdicts]
            )
            for name, parse in (("strict", benchmark.strict), ("lenient", benchmark.lenient))
        },
        **benchmark.details(verdicts),
    }


def tally(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Correct, total, and in percent: accuracy, its 95 % Wilson interval, the chance level."""
    correct, total = sum(verdict.correct for verdict in verdicts), len(verdicts)
    chance = mean(sorted(verdict.item.chance for verdict in verdicts))
    return {
        "correct": correct,
        "total": total,
        "accuracy": accuracy(verdicts),
        "interval": [100 * bound for bound in wilson(correct, total)] if total else None,
        "chance": None if chance is None else 100 * chance,
    }


def _published_size(benchmark: Benchmark, items: Sequence[Item], optional: Sequence[str]) -> bool:
    found = Counter(item.group for item in items)
    return all(
        found[group] in sizes or (group in optional and not found[group])
        for group, sizes in benchmark.counts.items()
    )
