"""What a benchmark is: items on disk, a prompt, a rule that reads replies, scores with their breakdown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from viral.data.conversation import IMAGE_TAG, get_template
from viral.data.image_source import ImageSource
from viral.errors import UnknownNameError


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One question about one image.

    `group` is the task or split that is scored on its own, `subgroup` a finer division that a benchmark's rules
    use, `source` the picture collection. `options` holds the texts of a multiple choice; a yes/no question has
    the two words themselves. Items of one `cluster` belong together: a bootstrap draws them together, and some
    benchmarks judge them together (a pair of MMVP, an image of MME). By default an item is its own cluster.
    """

    id: str
    group: str
    image: ImageSource
    question: str
    answer: str
    options: tuple[str, ...]
    source: str = ""
    subgroup: str = ""
    cluster: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "cluster", self.cluster or self.id)

    @property
    def chance(self) -> float:
        """Probability of a right answer by guessing among the options."""
        return 1 / len(self.options)


Parser = Callable[[str, Item], str | None]
"""(raw reply, item) -> the answer read, in the alphabet of `Item.answer`; None: no answer could be read."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was read from one reply; an unread answer is wrong."""

    item: Item
    answer: str | None

    @property
    def correct(self) -> bool:
        """Whether the answer read is the gold one."""
        return self.answer == self.item.answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """How every benchmark shows its questions: square mode of the image, conversation template."""

    name: str
    image_mode: str
    template: str


# Decoding is greedy in both. The release samples at T <= 0.2 without a seed: greedy but for near-ties.
PROFILES = {
    "paper": Profile(name="paper", image_mode="crop", template="llava_v1"),
    "clean": Profile(name="clean", image_mode="pad", template="vicuna_v1"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """One benchmark under one profile: what follows the question, how the reply is read, the headline.

    `optional` names groups that the headline leaves out; a folder may lack their files.
    """

    suffix: str
    max_new_tokens: int
    parse: Parser
    rule: str
    headline_name: str
    headline: Callable[[Sequence[Verdict]], float | None]
    optional: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """A registry entry.

    `counts` names the groups and the number of items each may have; a folder that carries a `counts.json`
    declares its own. `files` and `load` get the folder and the groups it holds; `details` adds the
    benchmark's own breakdown to the scores.
    """

    name: str
    title: str
    folder: str
    counts: Mapping[str, tuple[int, ...]]
    files: Callable[[Path, Sequence[str]], list[Path]]
    load: Callable[[Path, Sequence[str]], list[Item]]
    protocols: Mapping[str, Protocol]
    strict: Parser
    lenient: Parser
    details: Callable[[Sequence[Verdict]], dict[str, object]]


def get_profile(name: str) -> Profile:
    """Look a profile up by name.

    Raises:
        UnknownNameError: no such profile.
    """
    if name not in PROFILES:
        raise UnknownNameError("evaluation profile", name, list(PROFILES))
    return PROFILES[name]


def prompt(benchmark: Benchmark, item: Item, profile: str) -> str:
    """The whole generation prompt: system sentence, image tag, question, suffix, up to `ASSISTANT:`."""
    template = get_template(get_profile(profile).template)
    return template.prompt(f"{IMAGE_TAG}\n{item.question}{benchmark.protocols[profile].suffix}")


def percent(part: float, whole: float) -> float | None:
    """`part` in percent of `whole`; None of nothing."""
    return 100 * part / whole if whole else None


def accuracy(verdicts: Sequence[Verdict]) -> float | None:
    """Correct answers in percent; None without verdicts."""
    return percent(sum(verdict.correct for verdict in verdicts), len(verdicts))


def mean(values: Sequence[float | None]) -> float | None:
    """Plain mean; None if there is nothing or a part of it is missing."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
