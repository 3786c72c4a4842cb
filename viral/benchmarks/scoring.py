"""From replies to scores; needs no model and no pictures, and can be repeated under any profile."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from viral.benchmarks.base import Benchmark, Item, Parser, Verdict, accuracy, get_profile, mean, percent
from viral.benchmarks.files import size_problem
from viral.benchmarks.stats import wilson
from viral.benchmarks.tables import field, read_jsonl
from viral.errors import DataError


def read_replies(path: Path, *, partial: bool = False) -> dict[str, str]:
    """Item id -> raw reply, from JSON lines with `id` and `reply`.

    With `partial` an id may come several times; it counts as answered if all its replies are the same.

    Raises:
        DataError: missing, empty or damaged file, a line without the two fields, or an id that comes twice.
    """
    if not path.exists():
        raise DataError(f"No file {path}; give the replies.jsonl that viral eval wrote.")
    replies: dict[str, str] = {}
    contradictory = set()
    for where, row in read_jsonl(path):
        id_, reply = str(field(row, "id", (int, str), where)), field(row, "reply", str, where)
        if id_ in replies and not partial:
            raise DataError(f"{where}: id {id_} has been answered before; each item may have one reply.")
        if replies.setdefault(id_, reply) != reply:
            contradictory.add(id_)
    return {id_: reply for id_, reply in replies.items() if id_ not in contradictory}


def judge(
    benchmark: Benchmark,
    items: Sequence[Item],
    replies: Mapping[str, str],
    parse: Parser,
    *,
    partial: bool = False,
) -> list[Verdict]:
    """One verdict per item that has a reply, in item order.

    Raises:
        DataError: a reply to no item of this benchmark, two to the same one, or an item without reply and
            `partial` is off.
    """
    answered = match_replies(benchmark, items, replies, partial=partial)
    return [Verdict(item, parse(reply, item)) for item, reply in answered]


def match_replies(
    benchmark: Benchmark, items: Sequence[Item], replies: Mapping[str, str], *, partial: bool = False
) -> list[tuple[Item, str]]:
    """Items with their replies, in item order; raises as `judge`."""
    said = {benchmark.same_id(id_): reply for id_, reply in replies.items()}
    if len(said) < len(replies):
        raise DataError(
            f"{len(replies) - len(said)} items of {benchmark.title} are answered twice, under two spellings of their "
            "id; each item may have one reply."
        )
    keys = {benchmark.same_id(item.id): item for item in items}
    if foreign := sorted(id_ for id_ in replies if benchmark.same_id(id_) not in keys):
        raise DataError(
            f"{len(foreign)} of {len(replies)} replies answer no item of {benchmark.title}, first id "
            f"{foreign[0]!r}; they belong to another benchmark or to other data: see --benchmark and --data."
        )
    missing = [item.id for key, item in keys.items() if key not in said]
    if missing and not partial:
        raise DataError(
            f"{len(missing)} of {len(items)} items of {benchmark.title} have no reply, first {missing[0]!r}; "
            "finish the generation, or score what is there with --partial."
        )
    return [(item, said[key]) for key, item in keys.items() if key in said]


def summarise(
    benchmark: Benchmark,
    items: Sequence[Item],
    replies: Mapping[str, str],
    profile: str,
    *,
    partial: bool = False,
) -> dict[str, Any]:
    """Scores of one benchmark as plain JSON values; percentages are 0 to 100.

    The profile's headline, its breakdown, and the same breakdown under each of the benchmark's `rules`; the
    diagnostic columns `strict` and `lenient` are the headline as it would be under those two.

    Raises:
        UnknownNameError: no such profile.
        DataError: replies and items do not belong together (see `judge`).
    """
    protocol = benchmark.protocols[get_profile(profile).name]
    answered = match_replies(benchmark, items, replies, partial=partial)

    def under(parse: Parser) -> list[Verdict]:
        return [Verdict(item, parse(reply, item)) for item, reply in answered]

    verdicts = under(protocol.parse)
    by_rule = {name: under(parse) for name, parse in benchmark.rules.items()}
    groups = dict.fromkeys([*benchmark.counts, *sorted({item.group for item in items})])
    by_group = {group: [v for v in verdicts if v.item.group == group] for group in groups}
    return {
        "benchmark": benchmark.name,
        "profile": profile,
        "rule": protocol.rule,
        "items": len(items),
        "scored": len(verdicts),
        "partial": len(verdicts) < len(items),
        "published_size": _published_size(benchmark, items, protocol.optional),
        "headline": {
            "name": protocol.headline_name,
            "value": protocol.headline(verdicts),
            "maximum": protocol.maximum,
        },
        "overall": tally(verdicts),
        "groups": {group: tally(members) for group, members in by_group.items() if members},
        "unparsed": _unparsed(verdicts),
        "diagnostic": {name: protocol.headline(by_rule[name]) for name in ("strict", "lenient")},
        **benchmark.details(verdicts),
        "rules": {
            name: {"accuracy": accuracy(read), "unparsed": _unparsed(read), **benchmark.details(read)}
            for name, read in by_rule.items()
        },
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


def _unparsed(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Replies in which no answer could be read."""
    count = sum(verdict.answer is None for verdict in verdicts)
    return {"count": count, "percent": percent(count, len(verdicts))}


def _published_size(benchmark: Benchmark, items: Sequence[Item], optional: Sequence[str]) -> bool:
    present = {item.group for item in items}
    expected = {
        group: sizes for group, sizes in benchmark.counts.items() if group in present or group not in optional
    }
    return size_problem(benchmark, items, expected) is None
