"""The shared image path against Hugging Face's own processors, and everything that is not an image."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data as photographs
from transformers import CLIPImageProcessorPil, LlavaImageProcessorPil

from viral.data.images import CLIP_MEAN, CLIP_STD, PixelSpec, decode_image, mean_fill, normalise, to_square
from viral.errors import ConfigError, ImageError

SPEC = PixelSpec(size=336)
SHAPES = [(640, 480), (333, 500), (100, 100), (1, 7), (336, 336)]


def photograph(width: int, height: int) -> Image.Image:
    return Image.fromarray(photographs.astronaut()).resize((width, height))


def hf_settings() -> dict:
    side = {"height": SPEC.size, "width": SPEC.size}
    return {
        "size": {"shortest_edge": SPEC.size},
        "crop_size": side,
        "image_mean": CLIP_MEAN,
        "image_std": CLIP_STD,
    }


@pytest.mark.parametrize("shape", SHAPES)
def test_pad_equals_llavas_expand_to_square(shape):
    image = photograph(*shape)
    theirs = LlavaImageProcessorPil(do_pad=True, **hf_settings())(image, return_tensors="pt").pixel_values[0]
    ours = normalise(to_square(image, SPEC.size, "pad"), SPEC)
    assert (ours - theirs).abs().max() < 1e-6


@pytest.mark.parametrize("shape", SHAPES[:3])
def test_crop_equals_clips_resize_and_centre_crop(shape):
    image = photograph(*shape)
    theirs = CLIPImageProcessorPil(**hf_settings())(image, return_tensors="pt").pixel_values[0]
    ours = normalise(to_square(image, SPEC.size, "crop"), SPEC)
    assert (ours - theirs).abs().max() < 1e-6


def test_padding_colour_is_llavas():
    assert mean_fill(CLIP_MEAN) == (122, 116, 104)
    square = to_square(Image.new("RGB", (10, 20), "white"), 20)
    assert tuple(square[10, 0]) == (122, 116, 104)
    assert tuple(square[10, 10]) == (255, 255, 255)


def test_exif_rotation_is_not_applied(tmp_path: Path):
    portrait = Image.new("RGB", (40, 20))
    exif = portrait.getexif()
    exif[0x0112] = 6
    portrait.save(tmp_path / "a.jpg", exif=exif)
    assert decode_image(tmp_path / "a.jpg").size == (40, 20)


def test_format_is_found_by_content(tmp_path: Path):
    photograph(32, 32).convert("P").save(tmp_path / "gif.jpg", format="GIF")
    assert decode_image(tmp_path / "gif.jpg").mode == "RGB"


def bomb() -> bytes:
    """A small PNG that claims 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def truncated() -> bytes:
    buffer = io.BytesIO()
    photograph(64, 64).save(buffer, format="JPEG")
    return buffer.getvalue()[:600]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a readable image"),
        (b"<html>", "not a readable image"),
        (truncated(), "not a readable"),
        (bomb(), "bomb"),
    ],
)
def test_what_is_no_image_is_refused_with_its_reason(data, reason):
    with pytest.raises(ImageError, match=reason):
        decode_image(data)


def test_missing_file_and_folder_and_unknown_mode(tmp_path: Path):
    with pytest.raises(ImageError, match="no such file"):
        decode_image(tmp_path / "none.jpg")
    with pytest.raises(ImageError, match="IsADirectoryError"):
        decode_image(tmp_path)
    with pytest.raises(ConfigError, match="Known: pad, crop"):
        to_square(Image.new("RGB", (2, 2)), 2, "stretch")


def test_normalise_batches():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    stacked = normalise(pixels, SPEC)
    assert stacked.shape == (3, 3, 8, 8)
    assert (stacked[1] - normalise(pixels[1], SPEC)).abs().max() == 0


def encoded(image: Image.Image, image_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


RED, LIME = Image.new("RGB", (2, 2), "red"), Image.new("RGB", (2, 2), "lime")
PALETTE = Image.new("P", (2, 2), 1)
PALETTE.putpalette([0, 0, 0, 200, 100, 50])
DEEP = Image.fromarray(np.array([[0, 255], [256, 65535]], np.uint16))
ODD_MODES = {
    "CMYK": (encoded(Image.new("CMYK", (2, 2), (0, 255, 255, 0)), "TIFF"), (255, 0, 0)),
    "CMYK JPEG": (encoded(Image.new("CMYK", (2, 2), (0, 255, 255, 0)), "JPEG"), (255, 0, 0)),
    "palette": (encoded(PALETTE, "PNG"), (200, 100, 50)),
    "palette, colour transparent": (encoded(PALETTE, "PNG", transparency=1), (200, 100, 50)),
    "palette, alpha": (encoded(PALETTE, "PNG", transparency=b"\xff\0"), (200, 100, 50)),
    "alpha is dropped": (encoded(Image.new("RGBA", (2, 2), (10, 20, 30, 0)), "PNG"), (10, 20, 30)),
    "grey and alpha": (encoded(Image.new("LA", (2, 2), (7, 0)), "PNG"), (7, 7, 7)),
    "one bit": (encoded(Image.new("1", (2, 2), 1), "PNG"), (255, 255, 255)),
    "16 bit is clipped": (encoded(DEEP, "PNG"), (0, 0, 0)),
    "32 bit is clipped": (
        encoded(Image.fromarray(np.full((2, 2), 70_000, np.int32)), "TIFF"),
        (255, 255, 255),
    ),
    "first frame of a GIF": (encoded(RED, "GIF", save_all=True, append_images=[LIME]), (255, 0, 0)),
    "first frame of an APNG": (encoded(RED, "PNG", save_all=True, append_images=[LIME]), (255, 0, 0)),
    "first page of a TIFF": (encoded(RED, "TIFF", save_all=True, append_images=[LIME]), (255, 0, 0)),
}


@pytest.mark.parametrize("case", ODD_MODES)
def test_odd_modes_are_decoded_as_the_student_decodes_them(case, tmp_path: Path):
    from transformers.image_utils import load_image

    data, colour = ODD_MODES[case]
    (tmp_path / "image").write_bytes(data)
    ours = decode_image(data)
    assert (ours.mode, ours.getpixel((0, 0))) == ("RGB", colour)
    assert np.array_equal(np.array(ours), np.array(load_image(str(tmp_path / "image"))))


def test_sixteen_bits_are_clipped_and_not_scaled():
    assert np.array(decode_image(ODD_MODES["16 bit is clipped"][0]))[..., 0].tolist() == [
        [0, 255],
        [255, 255],
    ]


@pytest.mark.parametrize(("width", "height"), [(0, 0), (0, 3), (3, 0)])
def test_a_picture_without_pixels_is_refused(width, height):
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    png = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )
    bmp = bytearray(encoded(RED, "BMP"))
    bmp[18:26] = struct.pack("<ii", width, height)
    for data in (png, bytes(bmp), b"P6 %d %d 255\n" % (width, height)):
        with pytest.raises(ImageError, match="not a readable image"):
            decode_image(data)


@pytest.mark.parametrize("mode", ["pad", "crop"])
def test_one_pixel_is_a_picture(mode):
    square = to_square(decode_image(encoded(Image.new("RGB", (1, 1), "red"), "PNG")), 14, mode)
    assert (square == (255, 0, 0)).all()
