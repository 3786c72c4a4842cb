"""How a question is put: short answer, option letter, yes or no; LLaVA's and the benchmarks' wordings."""

from collections.abc import Callable
from dataclasses import dataclass

from viral.microworld.questions import YES_NO, Question, pick
from viral.microworld.scenes import Rng

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


@dataclass(frozen=True, slots=True)
class Choices:
    """A question's options in the order they are shown, and the index of the right one."""

    options: tuple[str, ...]
    answer: int

    @property
    def letter(self) -> str:
        """Capital letter of the right option."""
        return LETTERS[self.answer]


def choices_of(question: Question, rng: Rng, most: int = 6) -> Choices:
    """Shuffle the right answer among wrong ones: 4 to `most` options, or all there are if fewer."""
    number = min(int(rng.integers(4, most + 1)), len(question.wrong) + 1)
    order = rng.permutation(len(question.wrong))[: number - 1]
    options = [question.answer, *(question.wrong[i] for i in order)]
    shuffled = [options[i] for i in rng.permutation(number)]
    return Choices(tuple(shuffled), shuffled.index(question.answer))


def cv_bench_prompt(text: str, options: tuple[str, ...]) -> str:
    """CV-Bench's ready-made `prompt` field: one `(A) text` line per option."""
    lines = "".join(f"\n({letter}) {option}" for letter, option in zip(LETTERS, options, strict=False))
    return f"{text} Select from the following choices.{lines}"


def _short(question: Question, rng: Rng) -> tuple[str, str]:
    return question.text + SHORT_SUFFIX, question.answer


def _bare(question: Question, rng: Rng) -> tuple[str, str]:
    return question.text, question.answer


def _cv_bench(question: Question, rng: Rng) -> tuple[str, str]:
    choices = choices_of(question, rng)
    suffix = pick((CV_BENCH_SUFFIX, LETTER_SUFFIX), rng)
    return cv_bench_prompt(question.text, choices.options) + suffix, choices.letter


def _mmvp(question: Question, rng: Rng) -> tuple[str, str]:
    choices = choices_of(question, rng)
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
    else:
        suited = ("bare", "short", "cv_bench", "cv_bench")
    return STYLES[pick(suited, rng)](question, rng)
