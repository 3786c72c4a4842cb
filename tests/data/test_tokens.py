"""Token ids and label masks: the golden Vicuna sample, turns, text-only, truncation."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from tests import tiny
from viral.data.conversation import get_template
from viral.data.tokens import IGNORE, ImageTokens, check_end_token, encode_dialogue, encode_prompt, truncate
from viral.errors import ConfigError, DataError, UnknownNameError

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
    ids, labels = encode_dialogue(turns, vicuna, get_template("vicuna_v1"), ImageTokens(id=-200, count=1))
    assert ids == GOLDEN
    assert ids.index(-200) == 35
    supervised = [token for token in labels if token != IGNORE]
    assert supervised == [739, 338, 263, 6635, 29889, 2]
    assert labels[-6:] == supervised


def test_three_turns_supervise_each_answer_and_its_end(vicuna):
    turns = [("<image>\nWhat is this?", "It is a cat.")] + [("What is this?", "It is a cat.")] * 2
    ids, labels = encode_dialogue(turns, vicuna, get_template("vicuna_v1"), ImageTokens(id=-200, count=1))
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
    front = encode_dialogue([("<image>\nWhat?", "A")], tokenizer, get_template("vicuna_v1"), image)
    back = encode_dialogue([("What?\n<image>", "A")], tokenizer, get_template("vicuna_v1"), image)
    assert front == back


def test_text_only_sample_has_no_image_block_and_is_cut():
    tokenizer = tiny.tokenizer()
    ids, labels = encode_dialogue(
        [("Is there a cat?", "no " * 50)], tokenizer, get_template("vicuna_v1"), None
    )
    cut = truncate(ids, labels, None, 60)
    assert cut == (ids[:60], labels[:60])
    assert 3 not in ids


def interleaved(lengths: list[int], count: int) -> tuple[list[int], list[int]]:
    """Ids with an image block after each run of text; labels everywhere but on the images."""
    ids = [token for length in lengths for token in [*[9] * length, *[3] * count]]
    return ids, [IGNORE if token == 3 else token for token in ids]


def test_cut_through_the_image_block_is_refused_and_names_the_settings():
    image = ImageTokens(id=3, count=64)
    for max_length in (9, 10, 50, 73):  # before, at the start of, inside and at the end of the block
        with pytest.raises(
            DataError, match=r"raise data.max_length to at least 74, or set data.on_cut_image"
        ):
            truncate(*interleaved([10], 64), image, max_length)
    assert truncate(*interleaved([10], 64), image, 74) == interleaved([10], 64)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.integers(1, 6), st.integers(1, 80))
def test_dropping_cuts_before_the_first_image_that_does_not_fit(lengths, count, max_length):
    ids, labels = interleaved(lengths, count)
    cut_ids, cut_labels = truncate(ids, labels, ImageTokens(id=3, count=count), max_length, drop_images=True)
    assert len(cut_ids) == len(cut_labels) <= max_length
    assert (cut_ids, cut_labels) == (ids[: len(cut_ids)], labels[: len(cut_ids)])
    assert cut_ids.count(3) % count == 0
    if len(ids) > len(cut_ids):
        assert len(cut_ids) == max_length or ids[len(cut_ids)] == 3


def test_answers_that_repeat_the_question_are_masked_by_position():
    tokenizer, image = tiny.tokenizer(), ImageTokens(id=3, count=4)
    _, labels = encode_dialogue([("A yes B", "A yes B")], tokenizer, get_template("vicuna_v1"), image)
    supervised = [token for token in labels if token != IGNORE]
    assert tokenizer.decode(supervised) == " A yes B</s>"


def test_unknown_template():
    with pytest.raises(UnknownNameError, match="Known: llava_v1, plain, qwen_2, vicuna_v1"):
        get_template("chatml")


def test_tag_in_a_text_only_sample_is_text():
    tokenizer = tiny.tokenizer()
    ids, _ = encode_dialogue([("What does <image> mean?", "no")], tokenizer, get_template("vicuna_v1"), None)
    assert tokenizer.convert_tokens_to_ids("<image>") not in ids
    assert "What does <image> mean?" in tokenizer.decode(ids)


def test_golden_caption_of_stage_one(vicuna):
    """The release's `preprocess_plain`: the request is dropped, caption and line break are supervised."""
    turns = [("Write a caption.\n<image>", "a cat")]
    ids, labels = encode_dialogue(turns, vicuna, get_template("plain"), ImageTokens(id=-200, count=1))
    assert ids == [1, -200, 263, 6635, 13]
    assert labels == [IGNORE, IGNORE, 263, 6635, 13]


def test_llava_v1_differs_from_vicuna_v1_in_the_system_sentence_alone():
    assert get_template("llava_v1").prompt("Q").replace("human", "user") == get_template("vicuna_v1").prompt(
        "Q"
    )


@pytest.fixture(scope="module")
def qwen() -> PreTrainedTokenizerFast:
    """Byte-level, without a token that begins a sequence, like Qwen's."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator(tiny.CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>")


@pytest.mark.parametrize("num_turns", [1, 2, 3])
def test_qwen_pattern_of_supervised_ends(qwen, num_turns):
    """The release supervises each end but the last (2 turns: yes, no); we supervise all unless asked not to."""
    template, image = get_template("qwen_2"), ImageTokens(id=-200, count=2)
    turns = [("<image>\nWhat?", "A cat.")] + [("And?", "A cat.")] * (num_turns - 1)
    end = qwen.convert_tokens_to_ids("<|im_end|>")
    for supervise_last, expected in ((True, [True] * num_turns), (False, [True] * (num_turns - 1) + [False])):
        ids, labels = encode_dialogue(turns, qwen, template, image, supervise_last_end=supervise_last)
        assert [label == end for token, label in zip(ids, labels, strict=True) if token == end] == expected
        spoken = [label for label in labels if label not in (IGNORE, end)]
        assert qwen.decode(spoken) == " A cat." * num_turns
        assert ids[0] != end
        assert labels[ids.index(-200) :][:2] == [IGNORE, IGNORE]
    text = qwen.decode([token for token in ids if token != -200])
    assert text.startswith("A chat between a curious human and")
    assert text.count("USER: ") == text.count(" ASSISTANT: A cat.<|im_end|>") == num_turns


def test_a_turn_without_an_answer_teaches_nothing_and_ends_nothing():
    tokenizer, template = tiny.tokenizer(), get_template("vicuna_v1")
    ids, labels = encode_dialogue([("Is it?", "")], tokenizer, template, None)
    assert set(labels) == {IGNORE}
    assert tokenizer.eos_token_id not in ids
    ids, labels = encode_dialogue([("Is it?", ""), ("Is it?", "no")], tokenizer, template, None)
    assert tokenizer.decode([label for label in labels if label != IGNORE]) == " no</s>"
    assert "ASSISTANT:USER: Is it? ASSISTANT: no" in tokenizer.decode(ids)


def test_several_tags_stay_in_their_places():
    tokenizer, image = tiny.tokenizer(), ImageTokens(id=3, count=4)
    turns = [("Is <image> like <image>?", "no"), ("And this one?\n<image>", "yes")]
    ids, labels = encode_dialogue(turns, tokenizer, get_template("vicuna_v1"), image)
    text = tokenizer.decode(ids, skip_special_tokens=False)
    block = "<image>" * 4
    assert f"Is {block} like {block}?" in text
    assert f"USER: {block}\nAnd this one? ASSISTANT: yes" in text
    assert tokenizer.decode([label for label in labels if label != IGNORE]) == " no</s> yes</s>"


def test_a_template_of_another_family_is_refused(qwen):
    with pytest.raises(ConfigError, match=r"'vicuna_v1' ends answers with '</s>'.*set data.template"):
        check_end_token(qwen, get_template("vicuna_v1"))
    for name in ("qwen_2", "plain"):
        check_end_token(qwen, get_template(name))
