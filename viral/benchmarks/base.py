"""What a benchmark is: items on disk, a prompt, a rule that reads replies, scores with their breakdown."""

from collections.abc import Callable, Iterable, Mapping, Sequence
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
    as_trained: bool = False
    """Whether a model is asked in the wording of its training instead, where that is another."""


# Decoding is greedy in both. The release samples at T <= 0.2 without a seed: greedy but for near-ties.
PROFILES = {
    "paper": Profile(name="paper", image_mode="crop", template="llava_v1"),
    "clean": Profile(name="clean", image_mode="pad", template="vicuna_v1", as_trained=True),
}


def question(item: Item) -> str:
    """The question as the file has it: what most protocols ask."""
    return item.question


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """One benchmark under one profile: what is asked, how the reply is read, the headline.

    The user's turn is `ask(item)` and then `suffix`. `headline` is a number from 0 to `maximum`, of any list of
    verdicts; it looks at their items' group, cluster and source only. `optional` names groups that the headline
    leaves out; a folder may lack their files.
    """

    ask: Callable[[Item], str] = question
    suffix: str
    max_new_tokens: int
    parse: Parser
    rule: str
    headline_name: str
    headline: Callable[[Sequence[Verdict]], float | None]
    maximum: float = 100.0
    optional: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """A registry entry.

    `folder` is its place below the data folder; `spellings` are further names of it and of the benchmark, see
    `squash`. `counts` names the groups and the number of items each may have; with `free_groups` only the
    numbers are published. A folder that carries a `counts.json` declares its own. `layouts` gives the glob
    patterns, best first, that a group's questions may lie under; `load` gets the folder and the groups it holds.
    `rules` are all the known ways of reading a reply, `strict` and `lenient` among them; `details` is the
    benchmark's own breakdown under one of them. Ids that `same_id` makes equal are one. `strips`: see `kept`.
    """

    name: str
    title: str
    folder: str
    spellings: tuple[str, ...] = ()
    counts: Mapping[str, tuple[int, ...]]
    free_groups: bool = False
    layouts: Callable[[str], tuple[str, ...]]
    load: Callable[[Path, Sequence[str]], list[Item]]
    protocols: Mapping[str, Protocol]
    rules: Mapping[str, Parser]
    details: Callable[[Sequence[Verdict]], dict[str, object]]
    same_id: Callable[[str], str] = str
    strips: bool = True

    def kept(self, text: str) -> str:
        """Generated text as it is stored: without the blanks around it, unless the release's script keeps them."""
        return text.strip() if self.strips else text


def get_profile(name: str) -> Profile:
    """Look a profile up by name.

    Raises:
        UnknownNameError: no such profile.
    """
    if name not in PROFILES:
        raise UnknownNameError("evaluation profile", name, list(PROFILES))
    return PROFILES[name]


def prompt(benchmark: Benchmark, item: Item, profile: str, template: str | None = None) -> str:
    """The whole generation prompt: system sentence, image tag, question, suffix, up to `ASSISTANT:`.

    `template`: the model's; None is the profile's.
    """
    words = get_template(template or get_profile(profile).template)
    protocol = benchmark.protocols[profile]
    return words.prompt(f"{IMAGE_TAG}\n{protocol.ask(item)}{protocol.suffix}")


def squash(name: str) -> str:
    """A name without case, spaces and signs: `MME_Benchmark` and `mme-benchmark` are one."""
    return "".join(character for character in name.lower() if character.isalnum())


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


def by(verdicts: Sequence[Verdict], key: Callable[[Item], str]) -> dict[str, list[Verdict]]:
    """Verdicts by a property of their items, sorted by it."""
    found: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        found.setdefault(key(verdict.item), []).append(verdict)
    return dict(sorted(found.items()))


def all_correct(clusters: Iterable[Sequence[Verdict]], size: int) -> int:
    """How many clusters are whole, with `size` verdicts, and right in all of them."""
    return sum(len(members) == size and all(v.correct for v in members) for members in clusters)
