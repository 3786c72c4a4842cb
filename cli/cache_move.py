"""`viral cache export`, `merge` and `append`: what happens to a cache after it is built."""

from pathlib import Path
from typing import Annotated

import typer

from cli import cache_options as options
from cli.cache import INTERRUPTED
from cli.cache_text import build_text

_OUT = typer.Option(help="New folder; the same command resumes after an interruption.")


def export(
    path: Annotated[Path, options.PATH],
    out: Annotated[Path, _OUT],
    to: Annotated[str, typer.Option(help="webdataset, zarr or safetensors.")] = "webdataset",
) -> None:
    """Copy a store into another format; codes stay as they are."""
    from pipelines.cache_move import export_cache

    export_cache(path, to, out, show_progress=True)
    typer.echo(f"exported {path} to {out}")


def merge(
    paths: Annotated[list[Path], typer.Argument(help="Folders of finished stores.", show_default=False)],
    out: Annotated[Path, _OUT],
) -> None:
    """Make one store of several with the same fingerprint; each image is kept once."""
    from pipelines.cache_move import merge_caches

    manifest = merge_caches(paths, out, show_progress=True)
    typer.echo(f"merged {len(paths)} stores into {out}: {manifest.num_records:,} records")


def append(
    path: Annotated[Path, options.PATH],
    data: Annotated[list[Path] | None, options.DATA] = None,
    images: Annotated[Path | None, options.IMAGES] = None,
    weights: Annotated[str | None, options.WEIGHTS] = None,
    device: Annotated[str | None, options.DEVICE] = None,
    batch_size: Annotated[int | None, options.BATCH_SIZE] = None,
    workers: Annotated[int | None, options.WORKERS] = None,
    max_rejects: Annotated[int | None, options.MAX_REJECTS] = None,
    devices: Annotated[str | None, options.DEVICES] = None,
    engine: Annotated[str, options.ENGINE] = "local",
    address: Annotated[str | None, options.ADDRESS] = None,
) -> None:
    """Add new images to a store, without touching what is there; the same command resumes."""
    from pipelines.cache_move import append_images
    from pipelines.cache_request import CacheRequest

    wanted = CacheRequest(
        data=data,
        images=images,
        weights=weights,
        device=device,
        batch_size=batch_size,
        workers=workers,
        max_rejects=max_rejects,
        devices=options.device_list(devices),
        engine=engine,
        address=address,
    )
    result = append_images(path, wanted, show_progress=True)
    if result is None:
        typer.echo(f"{path} has all of these images already")
        return
    typer.echo(build_text(result), err=result.manifest is None)
    if result.manifest is None:
        raise typer.Exit(INTERRUPTED)
