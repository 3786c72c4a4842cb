"""How a question is put: short answer, option letter, yes or no; LLaVA's and the benchmarks' wordings."""

from collections.abc import Callable
from dataclasses import dataclass

from viral.microworld.questions import OPPOSITE, YES_NO, Question, pick
from viral.microworld.scenes import COLOURS, MAX_OF_A_SHAPE, Rng

SHORT_SUFFIX = "\nAnswer the question using a single word or phrase."
LETTER_SUFFIX = "\nAnswer with the option's letter from the given choices directly."
CV_BENCH_SUFFIX = (
    "\nBase your answer on reasoning. Your final answer must be only the single capital letter "
    "corresponding to the correct choice."
)
MMVP_SUFFIX = (
    "\nBase your answer on reasoning, but answer with the option's letter from the given choices directly."
)
POPE_SUFFIX = " Answer with only 'yes' or 'no'."
LETTERS = "ABCDEF"
ORDER = (*map(str, range(1, MAX_OF_A_SHAPE + 1)), *COLOURS, *OPPOSITE)
"""The order in which options are listed."""


@dataclass(frozen=True, slots=True)
class Choices:
    """A question's options in the order they are shown, and the index of the right one."""

    options: tuple[str, ...]
    answer: int

    @property
    def letter(self) -> str:
        """Capital letter of the right option."""
        return LETTERS[self.answer]


def choices_of(question: Question) -> Choices:
    """All options in their fixed order, as a form would list them.

    A small model needs no skill but seeing then: with shuffled options it would first have to learn to look letters up.
    """
    options = sorted((question.answer, *question.wrong), key=ORDER.index)
    return Choices(tuple(options), options.index(question.answer))


def cv_bench_prompt(text: str, options: tuple[str, ...]) -> str:
    """CV-Bench's ready-made `prompt` field: one `(A) text` line per option."""
    lines = "".join(f"\n({letter}) {option}" for letter, option in zip(LETTERS, options, strict=False))
    return f"{text} Select from the following choices.{lines}"


def _short(question: Question, rng: Rng) -> tuple[str, str]:
    return question.text + SHORT_SUFFIX, question.answer


def _bare(question: Question, rng: Rng) -> tuple[str, str]:
    return question.text, question.answer


def _cv_bench(question: Question, rng: Rng) -> tuple[str, str]:
    choices = choices_of(question)
    suffix = pick((CV_BENCH_SUFFIX, LETTER_SUFFIX), rng)
    return cv_bench_prompt(question.text, choices.options) + suffix, choices.letter


def _mmvp(question: Question, rng: Rng) -> tuple[str, str]:
    choices = choices_of(question)
    first, second = (option.capitalize() for option in choices.options)
    suffix = pick((MMVP_SUFFIX, LETTER_SUFFIX), rng)
    return f"{question.text}\nA. {first}\nB. {second}{suffix}", choices.letter


def _pope(question: Question, rng: Rng) -> tuple[str, str]:
    return question.text + POPE_SUFFIX, question.answer


STYLES: dict[str, Callable[[Question, Rng], tuple[str, str]]] = {
    "bare": _bare,
    "short": _short,
    "cv_bench": _cv_bench,
    "mmvp": _mmvp,
    "pope": _pope,
}
"""Style -> (prompt, answer) of a question."""


def put(question: Question, rng: Rng) -> tuple[str, str]:
    """The question in one of the styles that suit it, as (prompt, answer)."""
    suited: tuple[str, ...]
    if question.answer in YES_NO:
        suited = ("bare", "short", "pope", "pope")
    elif question.skill == "either":
        suited = ("short", "mmvp", "mmvp")
    elif question.skill == "relation":
        suited = ("cv_bench",)  # the options say along which axis to compare
    elif question.skill == "shape":
        suited = ("bare", "short")  # more shapes than letters
    else:
        suited = ("bare", "short", "cv_bench", "cv_bench")
    return STYLES[pick(suited, rng)](question, rng)
