"""Token ids and label masks: the golden Vicuna sample, turns, text-only, truncation."""

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tests import tiny
from viral.data.conversation import get_template
from viral.data.tokens import IGNORE, ImageTokens, encode_dialogue, encode_prompt
from viral.errors import DataError, UnknownNameError

# Pieces of Llama's vocabulary with their real ids, in the order of the golden sample. "|" stands for the blank mark.
PIECES = {
    "|A": 319, "|chat": 13563, "|between": 1546, "|a": 263, "|curious": 12758, "|user": 1404, "|and": 322, "|an": 385,
    "|artificial": 23116, "|intelligence": 21082, "|assistant": 20255, ".": 29889, "|The": 450, "|gives": 4076,
    "|helpful": 8444, ",": 29892, "|detailed": 13173, "|pol": 1248, "ite": 568, "|answers": 6089, "|to": 304,
    "|the": 278, "'": 29915, "s": 29879, "|questions": 5155, "|US": 3148, "ER": 1001, ":": 29901, "|": 29871,
    "\n": 13, "What": 5618, "|What": 1724, "|is": 338, "|this": 445, "?": 29973, "SS": 1799, "IST": 9047, "ANT": 13566,
    "|It": 739, "|cat": 6635,
}  # fmt: skip
GOLDEN = [
    1, 319, 13563, 1546, 263, 12758, 1404, 322, 385, 23116, 21082, 20255, 29889, 450, 20255, 4076, 8444, 29892, 13173,
    29892, 322, 1248, 568, 6089, 304, 278, 1404, 29915, 29879, 5155, 29889, 3148, 1001, 29901, 29871, -200, 29871, 13,
    5618, 338, 445, 29973, 319, 1799, 9047, 13566, 29901, 739, 338, 263, 6635, 29889, 2,
]  # fmt: skip


@pytest.fixture(scope="module")
def vicuna() -> PreTrainedTokenizerFast:
    """Llama's tokenizer reduced to the pieces of the golden sample: same ids, same blank-mark conventions."""
    vocabulary = [(f"<unused{index}>", -100.0) for index in range(32000)]
    for index, special in enumerate(("<unk>", "<s>", "</s>")):
        vocabulary[index] = (special, 0.0)
    for piece, index in PIECES.items():
        vocabulary[index] = (piece.replace("|", "\u2581"), -1.0)
    core = Tokenizer(models.Unigram(vocabulary, unk_id=0))
    core.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    core.pre_tokenizer = pre_tokenizers.Sequence([])
    core.decoder = decoders.Metaspace()
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def test_golden_vicuna_sample(vicuna):
    turns = [("<image>\nWhat is this?", "It is a cat.")]
    ids, labels = encode_dialogue(
        turns, vicuna, get_template("vicuna_v1"), ImageTokens(id=-200, count=1), 2048
    )
    assert ids == GOLDEN
    assert ids.index(-200) == 35
    supervised = [token for token in labels if token != IGNORE]
    assert supervised == [739, 338, 263, 6635, 29889, 2]
    assert labels[-6:] == supervised


def test_three_turns_supervise_each_answer_and_its_end(vicuna):
    turns = [("<image>\nWhat is this?", "It is a cat.")] + [("What is this?", "It is a cat.")] * 2
    ids, labels = encode_dialogue(
        turns, vicuna, get_template("vicuna_v1"), ImageTokens(id=-200, count=1), 2048
    )
    assert [token for token in labels if token != IGNORE] == [739, 338, 263, 6635, 29889, 2] * 3
    assert all(label in (IGNORE, token) for token, label in zip(ids, labels, strict=True))
    assert len(ids) == 89  # the length LLaVA's own code gives with a legacy tokenizer


def test_image_block_takes_the_place_of_the_tag():
    tokenizer = tiny.tokenizer()
    image = ImageTokens(id=3, count=16)
    ids = encode_prompt("USER: <image>\nHow many? ASSISTANT:", tokenizer, image)
    assert ids.count(3) == 16
    assert ids[0] == tokenizer.bos_token_id
    assert ids.count(tokenizer.bos_token_id) == 1


def test_tag_at_the_end_of_a_question_moves_to_its_front():
    tokenizer, image = tiny.tokenizer(), ImageTokens(id=3, count=4)
    front = encode_dialogue([("<image>\nWhat?", "A")], tokenizer, get_template("vicuna_v1"), image, 512)
    back = encode_dialogue([("What?\n<image>", "A")], tokenizer, get_template("vicuna_v1"), image, 512)
    assert front == back


def test_text_only_sample_has_no_image_block_and_is_cut():
    tokenizer, image = tiny.tokenizer(), ImageTokens(id=3, count=16)
    ids, labels = encode_dialogue(
        [("Is there a cat?", "no " * 50)], tokenizer, get_template("vicuna_v1"), image, 60
    )
    assert len(ids) == len(labels) == 60
    assert 3 not in ids


def test_cut_through_the_image_block_is_refused_and_names_the_setting():
    tokenizer, image = tiny.tokenizer(), ImageTokens(id=3, count=64)
    with pytest.raises(DataError, match=r"raise data.max_length to at least \d+"):
        encode_dialogue([("<image>\nWhat?", "A")], tokenizer, get_template("vicuna_v1"), image, 50)


def test_answers_that_repeat_the_question_are_masked_by_position():
    tokenizer, image = tiny.tokenizer(), ImageTokens(id=3, count=4)
    _, labels = encode_dialogue([("A yes B", "A yes B")], tokenizer, get_template("vicuna_v1"), image, 512)
    supervised = [token for token in labels if token != IGNORE]
    assert tokenizer.decode(supervised) == " A yes B</s>"


def test_unknown_template():
    with pytest.raises(UnknownNameError, match="Known: llava_v1, vicuna_v1"):
        get_template("chatml")


def test_tag_in_a_text_only_sample_is_text():
    tokenizer = tiny.tokenizer()
    ids, _ = encode_dialogue(
        [("What does <image> mean?", "no")], tokenizer, get_template("vicuna_v1"), None, 512
    )
    assert tokenizer.convert_tokens_to_ids("<image>") not in ids
    assert "What does <image> mean?" in tokenizer.decode(ids)
