"""A student that sees tiles: its tokens, its targets and its replies are in their places."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import GenerationConfig

from pipelines.training.config import AlignConfig
from pipelines.training.terms import build_terms
from tests import tiny
from viral.data.conversation import IMAGE_TAG
from viral.data.images import normalise
from viral.data.tiles import NEWLINE, tile_tokens
from viral.data.tokens import ImageTokens, encode_prompt, truncate
from viral.errors import DataError, ImageError
from viral.mllm.aligned import AlignedMllm
from viral.mllm.generate import Question, generate
from viral.mllm.lora import add_lora
from viral.mllm.student import load_student
from viral.mllm.tap import LayerTap
from viral.mllm.tiling import token_map
from viral.mllm.towers import patch_features
from viral.mllm.visual import VisualTokens

SIZES = [(57, 55), (20, 90), (60, 13)]
IMAGE = ImageTokens(id=3, count=16, tiling=tiny.TILING)
DIM = 6


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return load_student(str(tiny.save_llava_next(tmp_path_factory.mktemp("next") / "model")))


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in SIZES]


def batch(student, pictures, answer=(70, 71)):
    """One sequence with two pictures, one with a single one, one of text; what the module's forward takes."""
    groups = [pictures[:2], pictures[2:], []]
    rows = []
    for index, group in enumerate(groups):
        ids = [1, 50 + index]
        for image in group:
            ids += [3] * student.image.block((image.height, image.width)) + [60]
        rows.append([*ids, *answer])
    longest = max(map(len, rows))
    input_ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    labels = torch.full_like(input_ids, -100)
    for index, row in enumerate(rows):
        labels[index, len(row) - 2 : len(row)] = torch.tensor(answer)
    return {"input_ids": input_ids, "labels": labels, **views_of(student, pictures)}


def views_of(student, pictures) -> dict[str, torch.Tensor]:
    seen = [student.look(image) for image in pictures]
    return {
        "pixels": normalise(np.concatenate([each.views for each in seen]), student.pixels),
        "sizes": torch.tensor([each.size for each in seen]),
    }


def module_with(student, dims={"align": DIM}, **settings) -> AlignedMllm:  # noqa: B006
    term = AlignConfig(**{"layer": 2, "head_width": 16, **settings}).resolved()
    return AlignedMllm(student.model, build_terms({"align": term}, student.model, dims, 0))


def view_targets(num_views: int) -> torch.Tensor:
    return torch.randn(num_views, 16, DIM, generator=torch.Generator().manual_seed(1))


def test_the_language_loss_is_the_librarys(student, pictures):
    given = batch(student, pictures)
    with torch.no_grad():
        ours = AlignedMllm(student.model, {})(**given)
        theirs = student.model(
            input_ids=given["input_ids"], labels=given["labels"], pixel_values=given["pixels"],
            image_sizes=given["sizes"],
        )  # fmt: skip
    torch.testing.assert_close(ours.lm, theirs.loss, atol=1e-5, rtol=0)


@pytest.mark.parametrize("objective", ["align", "relation"])
def test_a_term_is_the_mean_over_images_of_all_their_patches(student, pictures, objective):
    """Against a naive reading: token by token through the layout, newlines left out."""
    given, module = batch(student, pictures), module_with(student, objective=objective)
    num_views = [tiny.TILING.num_views(size) for size in SIZES]
    targets = view_targets(sum(num_views))
    with torch.no_grad(), LayerTap(student.model.model.language_model, (2,)) as tap:
        losses = module(**given, targets={"align": targets})
        hidden = tap.take()[2][given["input_ids"] == 3]
        (term,) = module.loss_terms.values()
        expected, position, first = [], 0, 0
        for size, count in zip(SIZES, num_views, strict=True):
            mine, theirs = [], []
            for view, patch in zip(*tile_tokens(tiny.TILING, size, tiny.GRID), strict=True):
                if view != NEWLINE:
                    mine.append(hidden[position])
                    theirs.append(targets[first + view, patch])
                position += 1
            first += count
            expected.append(term({2: torch.stack(mine)[None]}, torch.stack(theirs)[None]))
    torch.testing.assert_close(losses.align, torch.cat(expected).mean())


def test_a_changed_target_moves_the_loss_at_its_own_token_only(student, pictures):
    """The shift test: d loss / d hidden changes nowhere but at the token of the patch whose target has changed."""
    given, module = batch(student, pictures), module_with(student)
    (term,) = module.loss_terms.values()
    visual = VisualTokens(given["input_ids"] == 3, token_map(student.model.config, given["sizes"]))
    hidden = torch.randn(*given["input_ids"].shape, 48, requires_grad=True)

    def gradient(targets):
        loss = term({2: visual.gather(hidden, 16)}, visual.arrange(targets), visual.lengths).sum()
        (found,) = torch.autograd.grad(loss, hidden)
        return found

    view, patch = 3, 6  # of the first picture: the lower left of its four tiles
    targets = view_targets(sum(tiny.TILING.num_views(size) for size in SIZES))
    changed = targets.clone()
    changed[view, patch] *= -1
    moved = (gradient(targets) != gradient(changed)).any(-1).nonzero().tolist()
    layout = tile_tokens(tiny.TILING, SIZES[0], tiny.GRID)
    place = int(((layout.view == view) & (layout.patch == patch)).nonzero()[0][0])
    assert moved == [[0, 2 + place]]


def test_newline_learns_and_has_no_target(student, pictures):
    given = batch(student, pictures)
    adapted = add_lora(tiny.llava_next(), rank=2, alpha=4, dropout=0.0, seed=0)
    term = AlignConfig(layer=2, head_width=16).resolved()
    module = AlignedMllm(adapted, build_terms({"align": term}, adapted, {"align": DIM}, 0))
    newline = module.core.image_newline
    assert newline.requires_grad
    views = sum(tiny.TILING.num_views(size) for size in SIZES)
    module(**given, targets={"align": view_targets(views)}).total.backward()
    assert newline.grad.abs().sum() > 0
    text = {name: given[name][2:] for name in ("input_ids", "labels")}
    module.zero_grad()
    losses = module(**text, pixels=given["pixels"][:0], sizes=given["sizes"][:0])
    losses.total.backward()
    assert losses.terms == {}
    trained = [name for name, p in module.named_parameters() if p.requires_grad and p.grad is None]
    assert not trained, "every trainable takes part, so that every rank reduces the same gradients"
    assert not newline.grad.any()


def test_targets_of_its_own(student, pictures):
    given = batch(student, pictures)
    for settings in ({"objective": "align_projected"}, {"teacher": "tower"}):
        with torch.no_grad():
            assert -1 < module_with(student, {}, **settings)(**given).align < 1


@pytest.mark.parametrize("objective", ["reinject_post", "reinject_pre"])
def test_reinjection_is_the_same_in_training_and_in_use(pictures, objective, tmp_path):
    student = load_student(str(tiny.save_llava_next(tmp_path / "model")))
    given = batch(student, pictures)
    use = {
        "input_ids": given["input_ids"], "labels": given["labels"], "pixel_values": given["pixels"],
        "image_sizes": given["sizes"],
    }  # fmt: skip
    with torch.no_grad():
        before = student.model(**use).loss
        module = module_with(student, objective=objective, adapter_init="random")
        trained, used = module(**given).lm, student.model(**use).loss
    torch.testing.assert_close(trained, used, atol=1e-5, rtol=0)
    assert abs(used - before) > 1e-4


def test_features_instead_of_pixels_are_laid_out_alike(student, pictures):
    """As `mm_encoder_outputs` takes them: the tower has looked before."""
    given, core = batch(student, pictures), student.model.model
    with torch.no_grad():
        expected = student.model(
            input_ids=given["input_ids"], pixel_values=given["pixels"], image_sizes=given["sizes"]
        ).logits
        projected = core.multi_modal_projector(patch_features(core, given["pixels"]))
        tokens = token_map(core.config, given["sizes"]).lay_out(projected, core.image_newline)
        seen = {"image": SimpleNamespace(pooler_output=[tokens])}
        found = student.model(input_ids=given["input_ids"], mm_encoder_outputs=seen).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_generation_is_that_of_transformers(student, pictures, tmp_path):
    questions = []
    for index, image in enumerate(pictures):
        image.save(tmp_path / f"{index}.png")
        prompt = f"USER: {IMAGE_TAG}\nHow many{' cats' * index}? ASSISTANT:"
        questions.append(Question(str(index), prompt, tmp_path / f"{index}.png"))
    replies = dict(generate(student, questions, max_new_tokens=6, image_mode="pad", batch_size=3))
    for question, image in zip(questions, pictures, strict=True):
        ids = encode_prompt(
            question.prompt, student.tokenizer, student.image, student.blocks([question.image])
        )
        given = views_of(student, [image])
        out = student.model.generate(
            input_ids=torch.tensor([ids]), pixel_values=given["pixels"], image_sizes=given["sizes"],
            generation_config=GenerationConfig(do_sample=False, max_new_tokens=6, eos_token_id=2, pad_token_id=0),
        )  # fmt: skip
        text = student.tokenizer.decode(out[0, len(ids) :], skip_special_tokens=True)
        assert replies[question.key] == text
    cropped = student.look(pictures[1], "crop")
    assert cropped.size == (20, 20)
    assert student.blocks([questions[1].image], "crop") == [student.image.block(cropped.size)]


def test_a_picture_that_cannot_be_tiled_is_named(student, tmp_path):
    Image.new("RGB", (200, 2)).save(tmp_path / "line.png")
    question = Question("1", f"{IMAGE_TAG}\nHow many?", tmp_path / "line.png")
    with pytest.raises(ImageError, match=r"line.png: refused: 200 x 2 pixels are too long and thin"):
        next(generate(student, [question], max_new_tokens=2, image_mode="pad", batch_size=1))


def test_blocks_of_many_lengths_are_cut_whole():
    blocks = [36, 44]
    ids = [1, *[3] * 36, 50, *[3] * 44, 51, 52]
    assert IMAGE.block((28, 28)) == 36
    assert IMAGE.most == 16 + 8 * 9
    with pytest.raises(DataError, match=r"block of 44 tokens does not fit.*max_length to at least 82"):
        truncate(ids, ids, IMAGE, 60, blocks=blocks)
    kept, _ = truncate(ids, ids, IMAGE, 60, blocks=blocks, drop_images=True)
    assert kept == ids[:38]
    assert IMAGE.count_blocks(kept, blocks) == 1
    assert IMAGE.count_blocks(ids, blocks) == 2
    with pytest.raises(DataError, match="2 <image> tags for 1 images"):
        encode_prompt(IMAGE_TAG * 2, tiny.tokenizer(), IMAGE, [36])
