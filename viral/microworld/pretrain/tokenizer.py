"""A byte-level BPE tokenizer over the micro-world's texts; knows `<image>`, adds `<s>` in front.

The words of maps are one token each, and so are sentences that never change (system prompts, answer instructions,
question frames): a prompt is then some 60 tokens shorter, which halves the time of a micro run. Everything else is
spelt out as usual.
"""

import re
from typing import TYPE_CHECKING

from viral.data.conversation import IMAGE_TAG
from viral.microworld import prompts
from viral.microworld.cells import CELL_WORDS
from viral.microworld.models import LLM_CONTEXT, VOCABULARY
from viral.microworld.pretrain.corpus import TALK, texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, BOS, EOS = "<pad>", "<s>", "</s>"
NUM_TEXTS = 2000
FIXED = (
    *CELL_WORDS,
    *(template.system for template in TALK),
    prompts.SHORT_SUFFIX,
    prompts.LETTER_SUFFIX,
    prompts.CV_BENCH_SUFFIX,
    prompts.MMVP_SUFFIX,
    prompts.POPE_SUFFIX,
    " Select from the following choices.",
    "Considering the relative positions of the",
    " in the image provided, where is the",
    " located with respect to the",
)


def train_tokenizer(seed: int) -> "PreTrainedTokenizerFast":
    """Learn the merges; the same seed gives the same file."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(FIXED),
        special_tokens=[PAD, BOS, IMAGE_TAG, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    fixed = re.compile("|".join(map(re.escape, FIXED)))
    spelt = (part for text in texts(seed, NUM_TEXTS) for part in fixed.split(text))
    tokenizer.train_from_iterator(spelt, trainer)
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in FIXED])
    bos = tokenizer.token_to_id(BOS)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, bos)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        additional_special_tokens=[IMAGE_TAG],
        padding_side="right",
        model_max_length=LLM_CONTEXT,
        clean_up_tokenization_spaces=False,
    )
