"""Options and arguments that several `viral cache` commands take, each spelt once."""

import typer

VFM = typer.Option(help="Teacher; `viral teachers` lists them.")
DATA = typer.Option(
    help="LLaVA .json or .jsonl, may be given several times; without it, every image below --images "
    "(neither: playground/llava_v1_5_mix665k.json and playground/llava-665k)."
)
IMAGES = typer.Option(
    help="Folder that image paths are relative to; nothing outside it is read. "
    "A .tar file in it (webdataset) is a folder of its members."
)
TRUST = typer.Option(
    "--trust-paths",
    help="File images under name and size instead of hashing their content: quick on slow disks, but equal files "
    "are encoded twice, and a changed file of the same size goes unnoticed. Recorded in the store.",
)
TILES = typer.Option(
    metavar="NAME[@SIDE]",
    help="For students that see tiles: encode the whole picture and each tile; llava-next, or llava-next@384 for a "
    "tower of 384 px.",
)
OUT = typer.Option(help="Folder of the store (default: caches/VFM, with the profile if not paper).")
CODEC = typer.Option(
    help="fp16 or bf16 (exact), int8 (half of that, cosine 0.99997), lm4 (a quarter, 0.995); "
    "lm3, lm2 (experimental, 0.98, 0.94)."
)
STORE = typer.Option(help="zarr (random access) or webdataset (tar files to stream from, too).")
PROFILE = typer.Option(
    help="paper; release (as the published code: CLIP pixels, scrambled linear layers); native (the teacher's own)."
)
WEIGHTS = typer.Option(
    help="hub, a hub id, a local .safetensors or .pth file, or random (seeded, and recorded as random). "
    "Default: the file packaged with the teacher, else hub.",
    show_default=False,
)
DEVICE = typer.Option(help="auto, cpu, cuda, cuda:1 ... (default: auto, a GPU if there is one).")
GRID = typer.Option(
    help="Side of the token grid to resample to (default: the teacher's own).", show_default=False
)
SQUARE = typer.Option(
    help="pad (as the student is trained) or crop (shortest side and centre: stage one of LLaVA)."
)
DTYPE = typer.Option(help="float32, bfloat16 or float16 (default: bfloat16 on CUDA, float32 elsewhere).")
SHARD_SIZE = typer.Option(help="Images per shard file: what a killed build loses at most.")
BATCH_SIZE = typer.Option(
    help="Images encoded at once (default: 256 on CUDA, 8 elsewhere; halved where memory is short)."
)
WORKERS = typer.Option(help="Decoding processes; 0 decodes in the main one (default: by cores).")
MAX_REJECTS = typer.Option(
    help="Fail when more images than this are missing, outside --images or unreadable "
    "(default: 1 % of the images, but at least 10). Finished shards are kept."
)
DEVICES = typer.Option(help="Several devices of this machine, one process each: cuda:0,cuda:1 or cpu,cpu.")
ENGINE = typer.Option(
    help="local (this machine, and with RANK and WORLD_SIZE any number of them), or ray (a cluster; needs viral[ray])."
)
ADDRESS = typer.Option(help="Address of the Ray cluster (default: the one Ray finds, else this machine).")
COMPILE = typer.Option(
    "--compile", help="torch.compile the teacher (CUDA only; the first batches take minutes)."
)
JSON = typer.Option("--json", help="Print JSON.")
PATH = typer.Argument(help="Folder of a feature store.", show_default=False)


def device_list(devices: str | None) -> tuple[str, ...]:
    """`--devices` as a tuple; empty if it was not given."""
    return () if devices is None else tuple(name.strip() for name in devices.removesuffix(",").split(","))
