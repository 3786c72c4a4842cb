"""Conversation templates: how turns become the one string an LLM is trained on and prompted with."""

from dataclasses import dataclass

from viral.errors import UnknownNameError

IMAGE_TAG = "<image>"


@dataclass(frozen=True, kw_only=True, slots=True)
class Template:
    """`system USER: question ASSISTANT: answer</s>USER: ...`, LLaVA's two-separator style."""

    name: str
    system: str
    user: str = "USER"
    assistant: str = "ASSISTANT"
    end: str = "</s>"

    def question(self, text: str, *, first: bool) -> str:
        """Everything from the previous turn's end up to the colon after ASSISTANT."""
        return f"{self.system + ' ' if first else ''}{self.user}: {text} {self.assistant}:"

    def answer(self, text: str) -> str:
        """The supervised part of a turn: one space, the answer, the end token; nothing where nobody answered.

        LLaVA writes a turn without an answer as a bare `ASSISTANT:`, so that nothing is learnt from it.
        """
        return f" {text}{self.end}" if text else ""

    def prompt(self, question: str) -> str:
        """The generation prompt of a single-turn question, image tag included by the caller."""
        return self.question(question, first=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionTemplate(Template):
    """Stage one's pairs: the image, then its caption and the end; the request for a caption is left out."""

    system: str = ""

    def question(self, text: str, *, first: bool) -> str:
        """The image tags alone (release, train.py: preprocess_plain)."""
        return IMAGE_TAG * text.count(IMAGE_TAG)

    def answer(self, text: str) -> str:
        """The caption and a line break, all of it supervised."""
        return f"{text}{self.end}"


# The release trains Vicuna with "user" and evaluates it with "human" (docs/method.md).
_SYSTEM = (
    "A chat between a curious {0} and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the {0}'s questions."
)
TEMPLATES = {
    template.name: template
    for template in (
        Template(name="vicuna_v1", system=_SYSTEM.format("user")),
        Template(name="llava_v1", system=_SYSTEM.format("human")),
        Template(
            name="qwen_2", system=_SYSTEM.format("human"), end="<|im_end|>"
        ),  # no ChatML, as in the release
        CaptionTemplate(name="plain", end="\n"),
    )
}


def get_template(name: str) -> Template:
    """Look a template up by name.

    Raises:
        UnknownNameError: no such template.
    """
    if name not in TEMPLATES:
        raise UnknownNameError("template", name, list(TEMPLATES))
    return TEMPLATES[name]


def with_image(question: str) -> str:
    """Move a single image tag to the front of a question, on a line of its own (release, train.py:308-329).

    Several tags stay where the text refers to them; LLaVA has no such questions.
    """
    if question.count(IMAGE_TAG) > 1:
        return question
    return f"{IMAGE_TAG}\n{question.replace(IMAGE_TAG, '').strip()}"
