"""Real photographs as LLaVA data: `python examples/photos.py OUT_DIR` writes OUT_DIR/photos.json and OUT_DIR/images/.

The pictures come out of the installed scikit-image and scikit-learn packages; nothing is downloaded. Among them are
the troubles every large collection has: a truncated file, a duplicate, a GIF called .jpg, an EXIF rotation, a path
that leaves the folder, a missing file, and samples without any image.
"""

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from PIL import Image

QUALITY = 92
"""Of the JPEG files."""
EXIF_ORIENTATION, TURN_RIGHT = 274, 6
"""EXIF tag, and its value for "turn me a quarter clockwise before showing"."""


@dataclass(frozen=True)
class Photo:
    """A picture inside an installed package, an optional crop of it (left, top, right, bottom), and its dialogue."""

    name: str
    package: str
    file: str
    turns: tuple[tuple[str, str], ...]
    crop: tuple[int, int, int, int] | None = None


_SKIMAGE, _SKLEARN = ("skimage", "data/"), ("sklearn", "datasets/images/")


def _photo(
    name: str,
    source: tuple[str, str],
    file: str,
    *turns: str,
    crop: tuple[int, int, int, int] | None = None,
) -> Photo:
    return Photo(name, source[0], source[1] + file, tuple(zip(turns[::2], turns[1::2], strict=True)), crop)


_ASK = "What is in this picture?"
PHOTOS = (
    _photo("astronaut", _SKIMAGE, "astronaut.png",
        _ASK, "An astronaut in an orange suit, with a flag and a model of a space shuttle behind her.",
        "What colour is the suit?", "Orange."),
    _photo("astronaut_face", _SKIMAGE, "astronaut.png",
        "Is the person smiling?", "Yes.", crop=(130, 0, 330, 200)),
    _photo("helmet", _SKIMAGE, "astronaut.png",
        "What is the dark round thing?", "The helmet of a space suit.", crop=(260, 330, 512, 512)),
    _photo("coffee", _SKIMAGE, "coffee.png",
        _ASK, "A cup of coffee on a saucer with a spoon.",
        "What colour is the saucer?", "Red.", "How many cups are there?", "1"),
    _photo("spoon", _SKIMAGE, "coffee.png",
        "What lies on the saucer beside the cup?", "A spoon.", crop=(280, 180, 600, 400)),
    _photo("cat", _SKIMAGE, "chelsea.png",
        _ASK, "The face of a tabby cat.", "Is there a dog in the picture?", "No."),
    _photo("cat_eyes", _SKIMAGE, "chelsea.png",
        "What colour are the eyes?", "Green.", crop=(120, 60, 380, 180)),
    _photo("rocket", _SKIMAGE, "rocket.jpg",
        _ASK, "A rocket on its launch pad in the dusk, between tall masts.",
        "Is the rocket flying?", "No, it stands on the pad."),
    _photo("rocket_tip", _SKIMAGE, "rocket.jpg",
        "What colour is the sky?", "Blue.", crop=(200, 80, 440, 320)),
    _photo("motorcycle", _SKIMAGE, "motorcycle_left.png",
        _ASK, "A red motorcycle in a garage.", "How many wheels can be seen?", "2"),
    _photo("motorcycle_again", _SKIMAGE, "motorcycle_right.png",
        "What is behind the motorcycle?", "Shelves with boxes, and a bench."),
    _photo("wheel", _SKIMAGE, "motorcycle_left.png",
        "Which part of a vehicle is this?", "The front wheel.", crop=(520, 250, 741, 480)),
    _photo("cameraman", _SKIMAGE, "camera.png",
        _ASK, "A man in a dark coat looking through a camera on a tripod.",
        "Is this picture in colour?", "No, it is black and white."),
    _photo("tripod", _SKIMAGE, "camera.png",
        "What does the camera stand on?", "A tripod.", crop=(200, 120, 440, 512)),
    _photo("coins", _SKIMAGE, "coins.png",
        _ASK, "Old coins in rows on a dark ground.", "How many coins are there?", "24"),
    _photo("coin_row", _SKIMAGE, "coins.png",
        "How many coins are in this row?", "6", crop=(0, 0, 384, 85)),
    _photo("galaxies", _SKIMAGE, "hubble_deep_field.jpg",
        _ASK, "Many galaxies on a black sky."),
    _photo("retina", _SKIMAGE, "retina.jpg",
        _ASK, "The back of an eye, with its blood vessels.", "What shape has the bright part?", "A circle."),
    _photo("tissue", _SKIMAGE, "ihc.png",
        _ASK, "Stained tissue under a microscope.", "Which two colours stand out?", "Brown and blue."),
    _photo("bricks", _SKIMAGE, "brick.png", "What is this surface made of?", "Bricks."),
    _photo("grass", _SKIMAGE, "grass.png", "What grows here?", "Grass."),
    _photo("gravel", _SKIMAGE, "gravel.png", "What is on the ground?", "Gravel, that is small stones."),
    _photo("page", _SKIMAGE, "page.png", "What is the heading of this page?", "Region-based segmentation"),
    _photo("moon", _SKIMAGE, "moon.png", _ASK, "The surface of the moon with craters."),
    _photo("horse", _SKIMAGE, "horse.png", "Which animal is this?", "A horse.", "Which way does it face?", "Right."),
    _photo("colours", _SKIMAGE, "color.png", _ASK, "A wheel of colours, white in the middle."),
    _photo("pagoda", _SKLEARN, "china.jpg",
        _ASK, "A tower with several curved roofs among trees, above a lake.", "Are there trees?", "Yes."),
    _photo("roofs", _SKLEARN, "china.jpg",
        "Is this a modern building?", "No, it is a traditional Chinese tower.", crop=(60, 20, 320, 380)),
    _photo("flower", _SKLEARN, "flower.jpg",
        _ASK, "An orange dahlia in front of dark green leaves.", "What colour is the flower?", "Orange."),
    _photo("petals", _SKLEARN, "flower.jpg",
        "What is shown from near by?", "The petals of a flower.", crop=(210, 70, 430, 330)),
)  # fmt: skip

TEXT_ONLY = (
    (("How many legs has a horse?", "4"),),
    (("Which is larger, a coin or a motorcycle?", "A motorcycle."),),
)


def main(out: Path) -> None:
    """Write the annotations and the image folder."""
    images = out / "images"
    images.mkdir(parents=True, exist_ok=True)
    entries = [_entry(f"{photo.name}.jpg", photo.turns) for photo in PHOTOS]
    for photo in PHOTOS:
        _picture(photo).save(images / f"{photo.name}.jpg", quality=QUALITY)
    entries += list(_troubles(images))
    entries += [_entry(None, turns) for turns in TEXT_ONLY]
    path = out / "photos.json"
    path.write_text(
        json.dumps([{"id": str(number), **entry} for number, entry in enumerate(entries)], indent=1)
    )
    print(f"{path}: {len(entries)} samples, {len(PHOTOS)} photographs and the usual troubles in {images}")


def _picture(photo: Photo) -> Image.Image:
    with files(photo.package).joinpath(photo.file).open("rb") as file:
        picture = Image.open(file)
        if picture.mode == "RGBA":  # the horse stands on nothing
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        return picture.convert("RGB").crop(photo.crop or (0, 0, *picture.size))


def _troubles(images: Path) -> Iterator[dict[str, object]]:
    """Make one bad or odd file after the other, and yield the sample that names it."""
    flower = images / "flower.jpg"
    (images / "truncated.jpg").write_bytes(flower.read_bytes()[:9000])
    yield _entry("truncated.jpg", (("Which flower is this?", "A dahlia."),))

    (images / "copies").mkdir(exist_ok=True)
    shutil.copy(images / "coffee.jpg", images / "copies" / "breakfast.jpg")
    yield _entry("copies/breakfast.jpg", (("What is there to drink?", "Coffee."),))

    with Image.open(images / "cat.jpg") as cat:
        cat.quantize(64).save(images / "gif_inside.jpg", format="GIF")
    yield _entry("gif_inside.jpg", (("Which animal is this?", "A cat."),))

    with Image.open(images / "pagoda.jpg") as pagoda:
        exif = Image.Exif()
        exif[EXIF_ORIENTATION] = TURN_RIGHT
        upright = pagoda.crop((40, 0, 340, 427))
        upright.transpose(Image.Transpose.ROTATE_90).save(images / "portrait.jpg", quality=QUALITY, exif=exif)
    yield _entry("portrait.jpg", (("Is there a building?", "Yes."),))

    shutil.copy(flower, images.parent / "outside.jpg")
    yield _entry("../outside.jpg", (("What is this?", "A flower."),))
    yield _entry("missing.jpg", (("What is this?", "Nobody knows."),))


def _entry(image: str | None, turns: tuple[tuple[str, str], ...]) -> dict[str, object]:
    conversations = []
    for number, (question, answer) in enumerate(turns):
        tag = "<image>\n" if image and number == 0 else ""
        conversations += [{"from": "human", "value": tag + question}, {"from": "gpt", "value": answer}]
    return {**({"image": image} if image else {}), "conversations": conversations}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/photos.py OUT_DIR")
    main(Path(sys.argv[1]))
