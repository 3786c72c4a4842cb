"""A conversation template as the chat template (Jinja) that an exported model carries for plain transformers."""

from typing import TYPE_CHECKING

from viral.data.conversation import IMAGE_TAG, CaptionTemplate, Template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Jinja's `trim_blocks` and `lstrip_blocks` are on in transformers: lines of statements leave nothing behind.
# No beginning-of-sequence token: the processor's tokenizer adds it. Pictures come first, as in training.
_JINJA = """\
{{%- set said = namespace(system={system}, first=true) -%}}
{{%- macro words(content) -%}}
  {{%- if content is string -%}}{{{{ content }}}}
  {{%- else -%}}
    {{%- for part in content if part['type'] == 'image' -%}}{{{{ {image} + '\\n' }}}}{{%- endfor -%}}
    {{%- for part in content if part['type'] == 'text' -%}}{{{{ part['text'] }}}}{{%- endfor -%}}
  {{%- endif -%}}
{{%- endmacro -%}}
{{%- for message in messages -%}}
  {{%- if message['role'] == 'system' -%}}
    {{%- set said.system = words(message['content']) -%}}
  {{%- elif message['role'] == 'user' -%}}
    {{{{ (said.system + ' ' if said.first else '') + {user} + ': ' + words(message['content']) }}}}
    {{{{- ' ' + {assistant} + ':' }}}}
    {{%- set said.first = false -%}}
  {{%- else -%}}
    {{%- generation -%}}{{{{ ' ' + words(message['content']) + {end} }}}}{{%- endgeneration -%}}
  {{%- endif -%}}
{{%- endfor -%}}
"""


def chat_template(template: Template) -> str | None:
    """Jinja that renders messages as `template` renders turns; None for captions, which are no conversation.

    A question ends with `ASSISTANT:`, so `add_generation_prompt` changes nothing.
    """
    if isinstance(template, CaptionTemplate):
        return None
    return _JINJA.format(
        system=repr(template.system),
        image=repr(IMAGE_TAG),
        user=repr(template.user),
        assistant=repr(template.assistant),
        end=repr(template.end),
    )


def end_token(template: Template, tokenizer: "PreTrainedTokenizerBase") -> int | None:
    """The token that ends an answer, or None where the end is no special token (a caption's line break)."""
    return tokenizer.get_vocab().get(template.end)
