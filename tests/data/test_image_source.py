"""Pictures inside archives and tables: equal if the same, cheap to ask for, safe over forks and changes."""

import multiprocessing
import os
import zipfile

import pytest

from tests.benchmarks import worlds
from viral.data.image_source import ParquetCell, TsvCell, ZipMember
from viral.data.images import decode_image
from viral.errors import ImageError


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        for index in range(8):
            file.writestr(f"pictures/{index}.png", worlds.png(index))
    return path


@pytest.fixture
def table(tmp_path):
    return worlds.write_parquet(tmp_path / "a.parquet", [{"index": index} for index in range(8)])


def red(source) -> int:
    return decode_image(source).getpixel((0, 0))[0]


def test_the_same_place_is_the_same_picture(archive, table):
    assert ZipMember(archive, "pictures/1.png") == ZipMember(archive, "pictures/1.png")
    assert len({ParquetCell(table, 1), ParquetCell(table, 1), ParquetCell(table, 2)}) == 2


def test_each_row_has_its_own_picture_over_all_row_groups(archive, table):
    assert [red(ParquetCell(table, row)) for row in range(8)] == list(range(8))
    assert [red(ZipMember(archive, f"pictures/{row}.png")) for row in range(8)] == list(range(8))


def test_names_in_messages(archive, table, tmp_path):
    assert str(ZipMember(archive, "pictures/1.png")) == f"{archive}/pictures/1.png"
    assert str(ParquetCell(table, 1)) == f"{table} row 2"
    assert str(TsvCell(tmp_path / "x.tsv", 1)) == f"{tmp_path}/x.tsv row 3"


def test_what_is_not_there(archive, table, tmp_path):
    (tmp_path / "x.tsv").write_text("index\timage\n0\t\n")
    for source in (
        ZipMember(archive, "pictures/9.png"),
        ZipMember(tmp_path / "no.zip", "x"),
        ParquetCell(table, 8),
        ParquetCell(tmp_path / "no.parquet", 0),
        TsvCell(tmp_path / "x.tsv", 0),
        TsvCell(tmp_path / "x.tsv", 1),
        TsvCell(tmp_path / "no.tsv", 0),
    ):
        assert not source.is_file()
        with pytest.raises(ImageError, match="no such file"):
            decode_image(source)


def test_damage_is_an_unreadable_image(archive, table, tmp_path):
    content = bytearray(archive.read_bytes())
    content[content.index(b"IDAT") + 6] ^= 255
    archive.write_bytes(content)
    (tmp_path / "x.tsv").write_text("index\timage\n0\tnot base64!\n")
    table.write_bytes(table.read_bytes()[:200])
    for source in (
        ZipMember(archive, "pictures/0.png"),
        TsvCell(tmp_path / "x.tsv", 0),
        ParquetCell(table, 0),
    ):
        with pytest.raises(ImageError, match="not a readable image"):
            decode_image(source)
    assert not ParquetCell(table, 0).is_file()


def test_is_there_says_nothing_about_its_content(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("x.png", b"no picture")
    assert ZipMember(tmp_path / "a.zip", "x.png").is_file()
    assert ParquetCell(worlds.write_parquet(tmp_path / "a.parquet", [{"index": 0}], [b"no"]), 0).is_file()


def test_a_changed_file_is_read_anew(archive, table):
    assert red(ZipMember(archive, "pictures/1.png")) == red(ParquetCell(table, 1)) == 1
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("pictures/1.png", worlds.png(77))
    worlds.write_parquet(table, [{"index": 0}] * 2, [worlds.png(77)] * 2)
    for path in (archive, table):
        os.utime(path, ns=(1, 1))
    assert red(ZipMember(archive, "pictures/1.png")) == red(ParquetCell(table, 1)) == 77


def test_forked_processes_read_an_archive_of_their_own(archive):
    sources = [ZipMember(archive, f"pictures/{index % 8}.png") for index in range(64)]
    assert red(sources[3]) == 3  # open before the fork
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert pool.map(red, sources, chunksize=1) == [index % 8 for index in range(64)]
