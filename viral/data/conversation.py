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
        """The supervised part of a turn: one space, the answer, the end token."""
        return f" {text}{self.end}"

    def prompt(self, question: str) -> str:
        """The generation prompt of a single-turn question, image tag included by the caller."""
        return self.question(question, first=True)


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
    """Move the image tag to the front of a question, on a line of its own (release, train.py:308-329)."""
    return f"{IMAGE_TAG}\n{question.replace(IMAGE_TAG, '').strip()}"
