"""One contract for every store: each format in a folder, behind HTTP and on S3."""

import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from stores import open_store
from stores.canonical import read_sealed, seal
from stores.errors import (
    DamagedStoreError,
    FormatVersionError,
    MissingStoreError,
    RejectedImageError,
    UnknownKeyError,
)
from stores.publish import write_json
from stores.shard import stride
from tests.stores.builder import build, features, key, make_plan, snapshot
from tests.stores.servers import http_server, s3_server

READABLE = [row for row in range(10) if row != 2]


def _read_rows(store, rows):
    return store.read_many([key(row) for row in rows])


class ReaderContract:
    """What every reader owes. Subclasses name a format, and where the store is."""

    store: str

    @pytest.fixture
    def root(self, tmp_path):
        """Ten images in three shards, image 2 rejected."""
        build(tmp_path / "store", make_plan(store=self.store), frozenset({2}))
        return tmp_path / "store"

    @pytest.fixture
    def reopen(self, root):
        """Opens the store as its folder is now."""
        return lambda: open_store(root)

    @pytest.fixture(autouse=True)
    def _own_cache(self, tmp_path, monkeypatch):
        monkeypatch.setenv("VIRAL_STORE_CACHE", str(tmp_path / "cache"))

    def test_every_record_decodes_to_its_features(self, reopen):
        store = reopen()
        expected = features(map(key, READABLE))
        decoded = store.codec.decode(_read_rows(store, READABLE), store.tables)
        norms = np.linalg.norm(decoded, axis=-1) * np.linalg.norm(expected, axis=-1)
        assert ((decoded * expected).sum(-1) / norms).min() > 0.9995

    def test_it_counts_and_lists_what_can_be_read(self, reopen):
        store = reopen()
        assert len(store) == 9
        assert list(store.keys()) == [key(row) for row in READABLE]
        assert key(1) in store
        assert key(99) not in store
        assert 7 not in store
        assert store.manifest.num_images == 10
        assert store.manifest.spec.store == self.store

    def test_random_sequential_and_batched_reads_agree(self, reopen):
        store = reopen()
        in_order = np.stack([store.read(name) for name in store.keys()])  # noqa: SIM118 - a store is no dict
        shuffled = [9, 0, 5, 0, 4]
        codes = _read_rows(store, shuffled)
        assert (codes == in_order[[READABLE.index(row) for row in shuffled]]).all()
        assert (_read_rows(store, READABLE) == in_order).all()
        assert store.read_many([]).shape == (0, 12, 16)

    def test_codes_belong_to_the_caller(self, reopen):
        store = reopen()
        codes = store.read(key(0))
        before = codes.copy()
        codes[:] = 0
        assert (store.read(key(0)) == before).all()

    def test_a_rejected_image_says_why(self, reopen):
        store = reopen()
        assert key(2) not in store
        assert dict(store.rejects) == {key(2): "truncated"}
        with pytest.raises(RejectedImageError, match=f"^Image {key(2)} has no record in .*: truncated$"):
            store.read(key(2))

    @pytest.mark.parametrize("unknown", [key(99), "", "zz", "0" * 63, key(1)[:16] + "0" * 48])
    def test_an_unknown_image_says_so(self, reopen, unknown):
        with pytest.raises(UnknownKeyError, match=r"has no image .*its file has changed since"):
            reopen().read_many([key(0), unknown])

    def test_damage_anywhere_in_a_record_is_found_on_reading_it(self, root, reopen):
        spec = make_plan(store=self.store).spec
        path, step = root / spec.shard_file(1), stride(spec)
        whole = path.read_bytes()
        for place in (0, 1, step // 3, step // 2, step - 5, step - 1):
            damaged = bytearray(whole)
            damaged[step + place] ^= 1 << place % 8
            path.write_bytes(damaged)
            store = reopen()
            store.read_many([key(4), key(6)])
            with pytest.raises(DamagedStoreError, match=rf"record {key(5)} .* is damaged.*--repair"):
                store.read(key(5))

    def test_records_in_each_others_place_are_not_taken_for_each_other(self, root, reopen):
        if self.store == "zarr":
            pytest.skip("a Zarr chunk does not say whose it is; verify finds this by the hash of the shard")
        spec = make_plan(store=self.store).spec
        path, step = root / spec.shard_file(1), stride(spec)
        whole = path.read_bytes()
        path.write_bytes(whole[step : 2 * step] + whole[:step] + whole[2 * step :])
        with pytest.raises(DamagedStoreError):
            reopen().read(key(4))

    def test_a_cut_or_lost_shard_is_found_on_reading(self, root, reopen):
        spec = make_plan(store=self.store).spec
        path = root / spec.shard_file(1)
        path.write_bytes(path.read_bytes()[: 3 * stride(spec) + 7])
        store = reopen()
        store.read(key(6))
        with pytest.raises(DamagedStoreError, match=f"record {key(7)}"):
            store.read(key(7))
        path.unlink()
        with pytest.raises(DamagedStoreError, match=f"{spec.shard_file(1)} is missing"):
            reopen().read(key(4))

    @pytest.mark.parametrize(
        "name", ["manifest.json", "keys/c.0.0", "rotation/c.0.0", "signs/zarr.json", "rejects.jsonl"]
    )
    def test_damage_that_would_change_every_record_is_found_on_opening(self, root, reopen, name):
        data = bytearray((root / name).read_bytes())
        data[len(data) // 2] ^= 16
        (root / name).write_bytes(data)
        with pytest.raises(DamagedStoreError, match=rf"{name} is damaged.*cache verify --repair"):
            reopen()
        if name != "manifest.json":
            (root / name).unlink()
            with pytest.raises(DamagedStoreError, match=f"{name} is missing"):
                reopen()

    def test_a_newer_format_is_refused(self, root, reopen):
        manifest = read_sealed(root / "manifest.json")
        manifest["spec"] |= {"format_version": 2, "unheard": "of"}
        write_json(root / "manifest.json", seal(manifest))
        with pytest.raises(
            FormatVersionError, match=r"Store format 2, but this version knows up to 1. Upgrade"
        ):
            reopen()

    @pytest.mark.parametrize("method", ["fork", "spawn"])
    def test_workers_read_after_their_parent_did(self, reopen, method):
        store = reopen()
        expected = _read_rows(store, READABLE)
        with multiprocessing.get_context(method).Pool(2) as pool:
            results = pool.starmap(_read_rows, [(store, READABLE)] * 4)
        assert all((result == expected).all() for result in results)
        assert (_read_rows(store, READABLE) == expected).all()

    def test_threads_share_a_store(self, reopen):
        store = reopen()
        expected = _read_rows(store, READABLE)
        with ThreadPoolExecutor(4) as pool:
            places = [number * 7 % 9 for number in range(60)]
            codes = list(pool.map(lambda place: store.read(key(READABLE[place])), places))
        assert all((found == expected[place]).all() for found, place in zip(codes, places, strict=True))

    def test_it_pickles_after_use(self, reopen):
        store = reopen()
        expected = store.read(key(0))
        copy = pickle.loads(pickle.dumps(store))
        assert (copy.read(key(0)) == expected).all()
        assert len(pickle.dumps(copy)) < 20_000


class TestZarr(ReaderContract):
    store = "zarr"


class TestWebDataset(ReaderContract):
    store = "webdataset"


class OverHttp:
    """The folder behind an HTTP server."""

    @pytest.fixture
    def reopen(self, root):
        with http_server(root.parent) as server:
            yield lambda: open_store(f"{server.url}/store")


class TestZarrOverHttp(OverHttp, ReaderContract):
    store = "zarr"


class TestWebDatasetOverHttp(OverHttp, ReaderContract):
    store = "webdataset"


@pytest.fixture(scope="module")
def bucket():
    with s3_server() as url:
        yield url


class TestZarrOnS3(ReaderContract):
    """A real S3 client against a real S3 protocol, on this machine."""

    store = "zarr"

    @pytest.fixture
    def reopen(self, root, bucket, tmp_path):
        import s3fs

        client, url, uploaded = s3fs.S3FileSystem(skip_instance_cache=True), f"{bucket}/{tmp_path.name}", {}

        def upload_what_changed_and_open():
            now = snapshot(root)
            for name in uploaded.keys() - now.keys():
                client.rm_file(f"{url}/{name}")
            for name, data in now.items():
                if uploaded.get(name) != data:
                    client.pipe_file(f"{url}/{name}", data)
            uploaded.clear()
            uploaded.update(now)
            return open_store(url)

        return upload_what_changed_and_open

    def test_no_store_there_is_a_named_error(self, bucket):
        with pytest.raises(MissingStoreError, match="holds no finished feature store; correct the URL"):
            open_store(f"{bucket}/typo")
