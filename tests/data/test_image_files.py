"""Finding images: inside the root, through tar files, and never anything but a regular file."""

import io
import os
import tarfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from viral.data.image_files import ImageFiles, reject_reason
from viral.data.keys import CONTENT, PATH_AND_SIZE, content_key, key_function, path_and_size_key, path_key
from viral.errors import DataError, ImageError, UnknownNameError


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "images"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "x.jpg").write_bytes(b"x")
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    return folder


def test_names_inside_the_root_are_read_whatever_their_spelling(root):
    (root / "link.jpg").symlink_to("a/b/x.jpg")
    (root / "c").symlink_to("a")
    files = ImageFiles(root)
    for name in ("a/b/x.jpg", "./a//b/x.jpg", "a/../a/b/x.jpg", "link.jpg", "c/b/x.jpg"):
        assert files.read(name) == b"x"
        assert files.locate(name).size == 1


@pytest.mark.parametrize(
    "name",
    [
        "../secret.jpg",
        "a/../../secret.jpg",
        "/etc/passwd",
        "out.jpg",
        "up/secret.jpg",
        "..",
        "nul\0l",
        "\ud800.jpg",
    ],
)
def test_what_leaves_the_root_is_refused(root, name):
    (root / "out.jpg").symlink_to(root.parent / "secret.jpg")
    (root / "up").symlink_to(root.parent)
    with pytest.raises(ImageError, match="leaves the image root, or is no path"):
        ImageFiles(root).locate(name)


def test_a_neighbour_with_the_same_beginning_is_outside(root):
    neighbour = root.with_name("images-private")
    neighbour.mkdir()
    (neighbour / "x.jpg").write_bytes(b"")
    with pytest.raises(ImageError, match="leaves"):
        ImageFiles(root).locate("../images-private/x.jpg")


@settings(deadline=None, max_examples=60)
@given(name=st.text(st.characters(codec="utf-8") | st.sampled_from("./\0"), max_size=20))
def test_no_name_escapes_and_none_crashes(tmp_path_factory, name):
    root = tmp_path_factory.getbasetemp() / "root"
    root.mkdir(exist_ok=True)
    with pytest.raises((ImageError, OSError)):
        ImageFiles(root).locate(name)


def test_what_is_no_regular_file_has_a_reason_without_a_folder(root):
    os.mkfifo(root / "pipe.jpg")
    (root / "loop.jpg").symlink_to("loop.jpg")
    reasons = {
        "a": "not a regular file",
        "": "not a regular file",
        "pipe.jpg": "not a regular file",
        "loop.jpg": "Too many levels of symbolic links",
        "gone.jpg": "No such file or directory",
        "a/b/x.jpg/y.jpg": "Not a directory",
        f"{'n' * 300}.jpg": "File name too long",
    }
    for name, reason in reasons.items():
        with pytest.raises((ImageError, OSError)) as caught:
            ImageFiles(root).locate(name)
        assert reject_reason(caught.value) == reason


def test_members_of_a_tar_file_read_like_files(root):
    members = {"1.jpg": b"one", "./sub/2.jpg": b"two" * 1000, "caf\udce9\n.jpg": b"three"}
    write_tar(root / "a" / "000.tar", members)
    files = ImageFiles(root)
    assert files.read("a/000.tar/1.jpg") == b"one"
    assert files.read("a/000.tar/sub/2.jpg") == b"two" * 1000
    assert files.read("a/000.tar/caf\udce9\n.jpg") == b"three"
    for name in ("a/000.tar/none.jpg", "a/000.tar/../b/x.jpg", "a/000.tar/"):
        with pytest.raises(ImageError, match="no such member"):
            files.locate(name)
    (root / "folder.tar").mkdir()
    (root / "folder.tar" / "x.jpg").write_bytes(b"in a folder")
    assert files.read("folder.tar/x.jpg") == b"in a folder"


def test_links_and_devices_in_a_tar_file_are_no_images(root):
    with tarfile.open(root / "t.tar", "w") as archive:
        for name, kind in (
            ("link.jpg", tarfile.SYMTYPE),
            ("node.jpg", tarfile.CHRTYPE),
            ("dir.jpg", tarfile.DIRTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    for name in ("link.jpg", "node.jpg", "dir.jpg"):
        with pytest.raises(ImageError, match="no such member"):
            ImageFiles(root).locate(f"t.tar/{name}")


def test_a_tar_file_that_changes_is_listed_again(root):
    files = ImageFiles(root)
    write_tar(root / "t.tar", {"1.jpg": b"old"})
    assert files.read("t.tar/1.jpg") == b"old"
    time.sleep(0.02)  # the tick of a file system's clock
    write_tar(root / "t.tar", {"0.jpg": b"", "1.jpg": b"new!"})
    assert files.read("t.tar/1.jpg") == b"new!"


@pytest.mark.parametrize(
    "damage", ["cut in data", "cut between members", "no end", "header", "no tar", "empty"]
)
def test_a_damaged_tar_file_is_one_line_and_loses_nothing_silently(root, damage):
    path = write_tar(root / "t.tar", {f"{number}.jpg": b"x" * 600 for number in range(5)})
    data = bytearray(path.read_bytes())
    member = 512 + 1024
    if damage == "header":
        data[2 * member + 5] ^= 0xFF
    content = {
        "cut in data": data[: 3 * member + 700],
        "cut between members": data[: 3 * member],
        "no end": data[: 5 * member],
        "header": data,
        "no tar": b"not a tar file" * 100,
        "empty": b"",
    }[damage]
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=r"t.tar' (is damaged, or cut short|is no sound tar file).*Copy it again"
    ) as caught:
        ImageFiles(root).locate("t.tar/4.jpg")
    assert "\n" not in str(caught.value)


def test_keys_by_content_and_by_path():
    assert key_function({}) is content_key
    assert key_function({"keys": CONTENT}) is content_key
    by_path = key_function({"keys": PATH_AND_SIZE})
    assert by_path is path_and_size_key
    assert content_key("a", b"1") == content_key("b", b"1") != content_key("a", b"2")
    assert by_path("./a//b.jpg", b"1") == by_path("a/b.jpg", b"2") == path_key("a/b.jpg", 1)
    assert len({by_path("a", b"1"), by_path("b", b"1"), by_path("a", b"12"), path_key("a\x001", 2)}) == 4
    assert len(path_key("caf\udce9", 7)) == 64
    with pytest.raises(
        UnknownNameError, match=r"Unknown kind of image keys 'phash'. Known: path\+size, sha256"
    ):
        key_function({"keys": "phash"})
