"""Libraries that people use to keep one array of codes per image, each by its own fast path.

All are given shards of the same number of records; `lacks` says what one does not do by itself.
"""

from functools import partial
from importlib import import_module
from pathlib import Path

from store_ways import BATCH, SHARD, Job, Opened, Way


def write_streaming(root: Path, job: Job) -> None:
    from streaming import MDSWriter

    shape = ",".join(map(str, job.block.shape[1:]))
    columns = {"codes": f"ndarray:{job.block.dtype.name}:{shape}"}
    size = SHARD * (job.plan.spec.record_bytes + 64)
    with MDSWriter(out=str(root), columns=columns, size_limit=size) as writer:
        for codes in job.codes:
            writer.write({"codes": codes})


def open_streaming(root: Path, num_records: int) -> Opened:
    from streaming import StreamingDataset

    dataset = StreamingDataset(local=str(root), batch_size=1, shuffle=False)
    # Reading by index is its fastest way through local shards, too: iterating adds threads that download.
    return Opened(
        lambda row: dataset[row]["codes"], lambda: (dataset[r]["codes"] for r in range(num_records))
    )


def write_litdata(root: Path, job: Job) -> None:
    from litdata.streaming.writer import BinaryWriter

    writer = BinaryWriter(str(root), chunk_size=SHARD)
    for row, codes in enumerate(job.codes):
        writer[row] = codes
    writer.done()
    writer.merge()


def open_litdata(root: Path, num_records: int) -> Opened:
    from litdata import StreamingDataset

    dataset = StreamingDataset(str(root))
    return Opened(dataset.__getitem__, lambda: iter(dataset))


def write_webdataset(root: Path, job: Job) -> None:
    from webdataset import ShardWriter

    root.mkdir()
    with ShardWriter(f"{root}/%06d.tar", maxcount=SHARD, maxsize=1 << 50, verbose=0) as writer:
        for key, codes in zip(job.plan.keys, job.codes, strict=True):
            writer.write({"__key__": key, "npy": codes})


def open_webdataset(root: Path, num_records: int) -> Opened:
    from webdataset import WebDataset

    dataset = WebDataset(sorted(map(str, root.glob("*.tar"))), shardshuffle=False).decode()
    return Opened(None, lambda: (sample["npy"] for sample in dataset))


def write_h5py(root: Path, job: Job, fletcher32: bool) -> None:
    from h5py import File

    root.mkdir()
    shape = (len(job.plan.keys), *job.block.shape[1:])
    with File(root / "codes.h5", "w", libver="latest") as file:
        codes = file.create_dataset(
            "codes", shape, job.block.dtype, chunks=(1, *shape[1:]), fletcher32=fletcher32
        )
        for shard_id, block in enumerate(job.blocks):
            codes[shard_id * SHARD : shard_id * SHARD + len(block)] = block


def open_h5py(root: Path, num_records: int) -> Opened:
    from h5py import File

    codes = File(root / "codes.h5")["codes"]
    return Opened(codes.__getitem__, lambda: (codes[row] for row in range(num_records)))


def write_zarr(root: Path, job: Job) -> None:
    import zarr
    from zarr.codecs import Crc32cCodec

    shape, dtype = job.block.shape[1:], job.block.dtype
    codes = zarr.create_array(
        root,
        shape=(len(job.plan.keys), *shape),
        dtype=dtype,
        chunks=(1, *shape),
        shards=(SHARD, *shape),
        filters=None,
        compressors=[Crc32cCodec()],
    )
    for shard_id, block in enumerate(job.blocks):
        codes[shard_id * SHARD : shard_id * SHARD + len(block)] = block


def open_zarr(root: Path, num_records: int) -> Opened:
    import zarr

    codes = zarr.open_array(root, mode="r")
    return Opened(
        codes.__getitem__, lambda: (codes[start : start + BATCH] for start in range(0, num_records, BATCH))
    )


PEERS = {
    "zarr-python": Way(write_zarr, open_zarr, "fsync"),
    "mosaicml-streaming": Way(write_streaming, open_streaming, "fsync, checksum of local records"),
    "litdata": Way(write_litdata, open_litdata, "fsync, checksum"),
    "webdataset": Way(write_webdataset, open_webdataset, "fsync, checksum, random access"),
    "h5py": Way(partial(write_h5py, fletcher32=False), open_h5py, "fsync, checksum, shards"),
    "h5py+fletcher32": Way(partial(write_h5py, fletcher32=True), open_h5py, "fsync, shards"),
}
MODULES = {"zarr-python": "zarr", "mosaicml-streaming": "streaming", "h5py+fletcher32": "h5py"}
"""Where a peer's module has another name."""


def require(names: list[str]) -> None:
    """Import the peers, so that no figure contains that.

    Raises:
        ModuleNotFoundError: one is not installed.
    """
    for name in names:
        import_module(MODULES.get(name, name))
