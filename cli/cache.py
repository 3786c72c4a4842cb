"""`viral cache`: plan, build, verify, inspect and show a teacher's features."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cli.cache_text import build_text, info_text, plan_text, verify_text

INTERRUPTED = 130
"""Exit code of a build that was asked to stop."""

app = typer.Typer(
    help="Stage one: a vision teacher's patch features, made once and kept.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

_VFM = typer.Option(help="Teacher: dinov2 (= dinov2-b), dinov2-s, dinov2-l, dinov2-g, micro.")
_DATA = typer.Option(
    help="LLaVA .json or .jsonl; without it, every image below --images "
    "(neither: playground/llava_v1_5_mix665k.json and playground/llava-665k)."
)
_IMAGES = typer.Option(help="Folder that image paths are relative to; nothing outside it is read.")
_OUT = typer.Option(help="Folder of the store (default: caches/VFM, with the profile if not paper).")
_CODEC = typer.Option(
    help="fp16 or bf16 (exact), int8 (half of that, cosine 0.99997), lm4 (a quarter, 0.995); "
    "lm3, lm2 (experimental, 0.98, 0.94)."
)
_STORE = typer.Option(help="zarr (random access) or webdataset (tar files to stream from, too).")
_PROFILE = typer.Option(
    help="paper; release (repeats the published code: CLIP pixels, scrambled linear layers); native (DINOv2's own)."
)
_WEIGHTS = typer.Option(
    help="hub, a local .safetensors or .pth file, or random (seeded, and recorded as random). "
    "Default: the file packaged with the teacher, else hub.",
    show_default=False,
)
_DEVICE = typer.Option(help="auto, cpu, cuda, cuda:1 ... (default: auto, a GPU if there is one).")
_DTYPE = typer.Option(help="float32 or bfloat16 (default: bfloat16 on CUDA, float32 elsewhere).")
_SHARD_SIZE = typer.Option(help="Images per shard file: what a killed build loses at most.")
_BATCH_SIZE = typer.Option(help="Images encoded at once (default: 64 on CUDA, 8 elsewhere).")
_WORKERS = typer.Option(help="Decoding processes; 0 decodes in the main one (default: by cores).")
_MAX_REJECTS = typer.Option(
    help="Fail when more images than this are missing, outside --images or unreadable "
    "(default: 1 % of the images, but at least 10). Finished shards are kept."
)
_JSON = typer.Option("--json", help="Print JSON.")
_PATH = typer.Argument(help="Folder of a feature store.", show_default=False)


@app.command()
def plan(
    vfm: Annotated[str, _VFM] = "dinov2",
    data: Annotated[Path | None, _DATA] = None,
    images: Annotated[Path | None, _IMAGES] = None,
    out: Annotated[Path | None, _OUT] = None,
    codec: Annotated[str, _CODEC] = "int8",
    store: Annotated[str, _STORE] = "zarr",
    profile: Annotated[str, _PROFILE] = "paper",
    weights: Annotated[str | None, _WEIGHTS] = None,
    device: Annotated[str | None, _DEVICE] = None,
    dtype: Annotated[str | None, _DTYPE] = None,
    shard_size: Annotated[int, _SHARD_SIZE] = 512,
    batch_size: Annotated[int | None, _BATCH_SIZE] = None,
    workers: Annotated[int | None, _WORKERS] = None,
    max_rejects: Annotated[int | None, _MAX_REJECTS] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Count images, bytes and hours before anything is written; refuse what cannot fit."""
    from pipelines.cache_estimate import summarise_plan
    from pipelines.cache_request import CacheRequest
    from stores import check_space

    request = CacheRequest(
        vfm=vfm,
        data=data,
        images=images,
        out=out,
        codec=codec,
        store=store,
        profile=profile,
        weights=weights,
        device=device,
        dtype=dtype,
        shard_size=shard_size,
        batch_size=batch_size,
        workers=workers,
        max_rejects=max_rejects,
    )
    planned, summary = summarise_plan(request, show_progress=not as_json)
    typer.echo(json.dumps(asdict(summary), indent=2) if as_json else plan_text(summary))
    check_space(request.folder, planned.plan)


@app.command()
def build(
    vfm: Annotated[str, _VFM] = "dinov2",
    data: Annotated[Path | None, _DATA] = None,
    images: Annotated[Path | None, _IMAGES] = None,
    out: Annotated[Path | None, _OUT] = None,
    codec: Annotated[str, _CODEC] = "int8",
    store: Annotated[str, _STORE] = "zarr",
    profile: Annotated[str, _PROFILE] = "paper",
    weights: Annotated[str | None, _WEIGHTS] = None,
    device: Annotated[str | None, _DEVICE] = None,
    dtype: Annotated[str | None, _DTYPE] = None,
    shard_size: Annotated[int, _SHARD_SIZE] = 512,
    batch_size: Annotated[int | None, _BATCH_SIZE] = None,
    workers: Annotated[int | None, _WORKERS] = None,
    max_rejects: Annotated[int | None, _MAX_REJECTS] = None,
) -> None:
    """Build a store, or what is missing of it: the same command resumes after any interruption."""
    from pipelines.cache_build import build_cache
    from pipelines.cache_request import CacheRequest

    request = CacheRequest(
        vfm=vfm,
        data=data,
        images=images,
        out=out,
        codec=codec,
        store=store,
        profile=profile,
        weights=weights,
        device=device,
        dtype=dtype,
        shard_size=shard_size,
        batch_size=batch_size,
        workers=workers,
        max_rejects=max_rejects,
    )
    result = build_cache(request, show_progress=True)
    typer.echo(build_text(result), err=result.manifest is None)
    if result.manifest is None:
        raise typer.Exit(INTERRUPTED)


@app.command()
def verify(
    path: Annotated[Path, _PATH],
    repair: Annotated[
        bool, typer.Option("--repair", help="Drop what is damaged, so that a build makes it anew.")
    ] = False,
    recompute: Annotated[
        int, typer.Option(help="Also encode this many images again and compare directions; needs --images.")
    ] = 0,
    images: Annotated[Path | None, _IMAGES] = None,
    weights: Annotated[str | None, _WEIGHTS] = None,
    device: Annotated[str | None, _DEVICE] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Read every byte of a finished store and compare it with what was written. Exit code 1: damage."""
    from pipelines.cache_verify import verify_cache

    report, recomputed = verify_cache(
        path,
        repair=repair,
        recompute=recompute,
        images=images,
        weights=weights,
        device=device,
        show_progress=not as_json,
    )
    if as_json:
        found = {**asdict(report), "recomputed": asdict(recomputed) if recomputed else None}
        typer.echo(json.dumps(found, indent=2))
    else:
        typer.echo(verify_text(report, recomputed, repaired=repair))
    if not report.ok or (recomputed and recomputed.wrong):
        raise typer.Exit(1)


@app.command()
def info(path: Annotated[Path, _PATH], as_json: Annotated[bool, _JSON] = False) -> None:
    """Say what a store holds, what made it, and whether it is finished."""
    from pipelines.cache_info import describe_store

    description = describe_store(path)
    typer.echo(json.dumps(description, indent=2) if as_json else info_text(description))


@app.command()
def show(
    path: Annotated[Path, _PATH],
    image: Annotated[Path, typer.Option(help="An image file that is in the store.")],
    out: Annotated[Path, typer.Option(help="PNG to write.")],
) -> None:
    """Draw an image beside the main directions of its cached features."""
    from pipelines.cache_show import show_image

    show_image(path, image, out)
    typer.echo(f"wrote {out}")
