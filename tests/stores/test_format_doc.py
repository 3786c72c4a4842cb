"""docs/format.md is true: its decoder reads a store, and its checksums and sizes can be computed as it says."""

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import google_crc32c
import numpy as np
import pytest

from stores import CODECS, open_store
from tests.stores.builder import build, features, make_plan

DOC = (Path(__file__).parents[2] / "docs" / "format.md").read_text()


def spelling(value):
    return (json.dumps(value, sort_keys=True, separators=(",", ":")) + "\n").encode()


@pytest.fixture(params=[(codec, store) for codec in CODECS for store in ("zarr", "webdataset")])
def any_store_and_image(request, tmp_path):
    return make_store_and_image(*request.param, tmp_path)


@pytest.fixture(params=CODECS)
def store_and_image(request, tmp_path):
    return make_store_and_image(request.param, "zarr", tmp_path)


def make_store_and_image(codec, store, tmp_path):
    image = tmp_path / "cat.jpg"
    image.write_bytes(b"any bytes")
    plan = make_plan(6, codec=codec, store=store)
    keys = (*plan.keys[:5], hashlib.sha256(b"any bytes").hexdigest())
    build(tmp_path / "store", replace(plan, keys=keys))
    return tmp_path / "store", image, features(keys[5:])[0]


def test_the_decoder_in_the_text_decodes(any_store_and_image):
    store, image, expected = any_store_and_image
    (block,) = re.findall(r"```python\n(.*?)```", DOC, re.DOTALL)
    assert len(block[block.index("def ") :].strip().splitlines()) <= 18
    scope = {}
    exec(block, scope)
    decoded = scope["decode"](store, image)
    opened = open_store(store)
    codes = opened.read_many([hashlib.sha256(image.read_bytes()).hexdigest()])
    np.testing.assert_allclose(decoded, opened.codec.decode(codes, opened.tables)[0], rtol=1e-4, atol=1e-3)
    cosines = (
        (decoded * expected).sum(-1) / np.linalg.norm(decoded, axis=-1) / np.linalg.norm(expected, axis=-1)
    )
    assert cosines.mean() > opened.codec.cosine_floor


def test_shards_lie_as_the_table_says(store_and_image):
    store, _, _ = store_and_image
    spec = json.loads((store / "manifest.json").read_bytes())["spec"]
    bits = {"fp16": 16, "bf16": 16, "int8": 8, "lm4": 4, "lm3": 3, "lm2": 2}[spec["codec"]]
    record = 3 * 4 * 16 * bits // 8
    for shard, n in ((0, 4), (1, 2)):
        data = (store / f"codes/c.{shard}.0.0").read_bytes()
        for r in range(n):
            codes = data[r * (record + 4) :][:record]
            assert data[r * (record + 4) + record :][:4] == google_crc32c.value(codes).to_bytes(4, "little")
        index, crc = data[n * (record + 4) :][: 16 * 4], data[n * (record + 4) + 16 * 4 :]
        assert crc == google_crc32c.value(index).to_bytes(4, "little")
        slots = np.frombuffer(index, "<u8").reshape(4, 2).tolist()
        missing = [[2**64 - 1] * 2] * (4 - n)
        assert slots == [[r * (record + 4), record + 4] for r in range(n)] + missing


@pytest.mark.parametrize("codec", ["fp16", "int8"])
def test_tars_lie_as_the_table_says(codec, tmp_path):
    store, image, _ = make_store_and_image(codec, "webdataset", tmp_path)
    key = hashlib.sha256(image.read_bytes()).hexdigest()
    record = 3 * 4 * 16 * {"fp16": 2, "int8": 1}[codec]
    pad = -(128 + record) % 512
    data, place = (store / "codes/000001.tar").read_bytes(), 640 + record + pad + 1024
    assert len(data) == 2 * place + 1024
    assert data[place:].startswith(f"{key}.npy\0".encode())
    assert data[place + 512 :].startswith(b"\x93NUMPY\x01\x00")
    codes = data[place + 640 :][:record]
    assert data[place + 640 + record :][:pad] == bytes(pad)
    assert data[place + 640 + record + pad :].startswith(f"{key}.json\0".encode())
    about = spelling({"codec": codec, "crc32c": google_crc32c.value(codes), "grid": [3, 4], "key": key})
    assert data[place + 1152 + record + pad :][:512] == about.ljust(512, b"\0")
    assert data[-1024:] == bytes(1024)


def test_seals_and_hashes_are_computed_as_the_text_says(store_and_image):
    store, _, _ = store_and_image
    sealed = ["plan.json", "manifest.json", "reports/0.json", "reports/1.json"]
    bodies = {name: json.loads((store / name).read_bytes()) for name in sealed}
    checksums = {name: body["checksum"] for name, body in bodies.items()}
    for name, body in bodies.items():
        assert (store / name).read_bytes() == spelling(body)
        del body["checksum"]
        assert hashlib.sha256(spelling(body)).hexdigest() == checksums[name]
    manifest, report = bodies["manifest.json"], bodies["reports/1.json"]
    assert report["sha256"] == hashlib.sha256((store / "codes/c.1.0.0").read_bytes()).hexdigest()
    hashes = {name: hashlib.sha256((store / name).read_bytes()).hexdigest() for name in manifest["files"]}
    assert hashes == manifest["files"]
    tables = {
        name: hashes[f"{name}/c.0.0"]
        for name in ("rotation", "signs", "codebook")
        if f"{name}/c.0.0" in hashes
    }
    assert report["store"] == hashlib.sha256(spelling([checksums["plan.json"], tables])).hexdigest()
    assert manifest["kappa"] == manifest["cosine"]["mean"]


def test_every_file_of_a_store_is_in_the_list(any_store_and_image):
    store, _, _ = any_store_and_image
    listing = DOC[DOC.index("    zarr.json") : DOC.index("N images")]
    listed = {line.split()[0] for line in listing.splitlines() if line}
    files = [path.relative_to(store).as_posix() for path in store.rglob("*") if path.is_file()]
    generic = {re.sub(r"(codes/c\.|codes/|reports/)\d+", r"\1<shard>", name) for name in files}
    assert {name for name in generic if not name.startswith("logs/")} <= listed
