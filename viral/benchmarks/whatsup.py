"""What's Up: where a thing is, in COCO photos and in staged sets of four (Kamath et al. 2023; AdaptVis' questions).

On disk: AdaptVis' folder, see `whatsup_files`.
"""

import re
from collections.abc import Sequence

from viral.benchmarks.base import (
    Benchmark,
    Item,
    Protocol,
    Verdict,
    accuracy,
    all_correct,
    by,
    mean,
    percent,
    squash,
)
from viral.benchmarks.whatsup_files import (
    COCO,
    CONTROLLED,
    SPELLINGS,
    caption_files,
    load_splits,
    prompt_files,
)

SYNONYMS = {
    "top": "top above over upper",
    "bottom": "bottom below under lower beneath underneath",
    "above": "above over top",
    "below": "below under beneath underneath bottom",
    "on": "on top atop",
    "under": "under below beneath underneath",
    "front": "front before",
    "behind": "behind back",
    "left": "left",
    "right": "right",
}
"""What the lenient rule takes for an answer word."""


def release_question(item: Item) -> str:
    """The question up to its mark and, without a blank, the release's request for one word."""
    listed = f"{', '.join(item.options[:-1])}, or {item.options[-1]}"
    return f"{item.question.partition('?')[0]}?Answer with a single word from {listed}."


def release_word(reply: str, item: Item) -> str | None:
    """Right if the gold word is in the reply or the reply is in the gold word, so an empty reply always is.

    The rule knows the gold word; another one is read only where it does not find it.
    """
    text = reply.lower()
    return next((word for word in (item.answer, *item.options) if word in text or text in word), None)


def adaptvis_word(reply: str, item: Item) -> str | None:
    """AdaptVis' rule: right if the gold word is in the reply, except gold `on` with "front" there."""
    text = reply.lower()
    found = [word for word in (item.answer, *item.options) if word in text]
    if item.answer == "on" and "front" in text:
        found = [word for word in found if word != "on"]
    return next(iter(found), None)


def strict_word(reply: str, item: Item) -> str | None:
    """Exactly one of the words occurs, as a whole word."""
    found = set(re.findall(r"\w+", reply.lower())) & set(item.options)
    return found.pop() if len(found) == 1 else None


def lenient_word(reply: str, item: Item) -> str | None:
    """As `strict_word`, with synonyms: "on top" reads as above."""
    said = set(re.findall(r"\w+", reply.lower()))
    found = [word for word in item.options if said & set(SYNONYMS[word].split())]
    return found[0] if len(found) == 1 else None


def mean_of_splits(verdicts: Sequence[Verdict]) -> float | None:
    """The paper's score: plain mean of the accuracies of COCO one and two; controlled sets are left out."""
    groups = by(verdicts, lambda item: item.group)
    return mean([accuracy(groups.get(name, ())) for name in COCO])


def pairs_and_sets(verdicts: Sequence[Verdict]) -> dict[str, float | None]:
    """What's Up's own scores of one controlled split, in percent.

    `individual`: pictures; `pair`: both of left and right, or both of the other two words, over n / 2; `set`: all
    four pictures of a pair of things, over n / 4.
    """
    sets = by(verdicts, lambda item: item.cluster).values()
    pairs = [
        [verdict for verdict in members if verdict.item.answer in words]
        for members in sets
        if (options := members[0].item.options)
        for words in (options[:2], options[2:])
    ]
    return {
        "individual": accuracy(verdicts),
        "pair": percent(2 * all_correct(pairs, 2), len(verdicts)),
        "set": percent(4 * all_correct(sets, 4), len(verdicts)),
    }


def _details(verdicts: Sequence[Verdict]) -> dict[str, object]:
    groups = by(verdicts, lambda item: item.group)
    return {
        "splits": {
            name: {
                "correct": sum(v.correct for v in members),
                "n": len(members),
                "accuracy": accuracy(members),
            }
            for name, members in groups.items()
        },
        "mean_of_splits": mean_of_splits(verdicts),
        "pooled": accuracy([verdict for verdict in verdicts if verdict.item.group in COCO]),
        "controlled": {name: pairs_and_sets(groups[name]) for name in CONTROLLED if name in groups},
    }


def _same_id(id_: str) -> str:
    split, slash, row = id_.partition("/")
    return SPELLINGS.get(squash(split).removeprefix("whatsup"), split) + slash + row


WHATSUP = Benchmark(
    name="whatsup",
    title="What's Up",
    folder="AdaptVis",
    strips=False,
    spellings=("whatsup_vlms", "whatsup_coco"),
    counts={"coco_one": (2247,), "coco_two": (440,), "controlled_a": (412,), "controlled_b": (408,)},
    layouts=lambda group: (*prompt_files(group), *caption_files(group)),
    load=load_splits,
    protocols={
        "paper": Protocol(
            ask=release_question,
            suffix="\n",
            max_new_tokens=100,
            parse=release_word,
            rule="the gold word is in the reply, or the reply in the gold word; mean of COCO one and two",
            headline_name="mean accuracy",
            headline=mean_of_splits,
            optional=CONTROLLED,
        ),
        "clean": Protocol(
            suffix="",
            max_new_tokens=100,
            parse=adaptvis_word,
            rule="the gold word is in the reply; mean of COCO one and two",
            headline_name="mean accuracy",
            headline=mean_of_splits,
            optional=CONTROLLED,
        ),
    },
    rules={"viral": release_word, "adaptvis": adaptvis_word, "strict": strict_word, "lenient": lenient_word},
    details=_details,
    same_id=_same_id,
)
