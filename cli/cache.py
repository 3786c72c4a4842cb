"""`viral cache`: plan, build, verify, inspect and show a teacher's features."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from cli import cache_options as options
from cli.cache_text import build_text, info_text, plan_text, verify_text

INTERRUPTED = 130
"""Exit code of a command that was asked to stop."""


class _Resumable(TyperGroup):
    """Commands of which none says nothing when it is interrupted."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        """Run the command that was typed."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            typer.echo("stopped; run the same command again, what is finished is kept", err=True)
            raise typer.Exit(INTERRUPTED) from stop


app = typer.Typer(
    cls=_Resumable,
    help="Stage one: a vision teacher's patch features, made once and kept.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.command()
def plan(
    vfm: Annotated[str, options.VFM] = "dinov2",
    data: Annotated[list[Path] | None, options.DATA] = None,
    images: Annotated[Path | None, options.IMAGES] = None,
    trust_paths: Annotated[bool, options.TRUST] = False,
    tiles: Annotated[str | None, options.TILES] = None,
    out: Annotated[Path | None, options.OUT] = None,
    codec: Annotated[str, options.CODEC] = "int8",
    store: Annotated[str, options.STORE] = "zarr",
    profile: Annotated[str, options.PROFILE] = "paper",
    weights: Annotated[str | None, options.WEIGHTS] = None,
    device: Annotated[str | None, options.DEVICE] = None,
    dtype: Annotated[str | None, options.DTYPE] = None,
    grid: Annotated[int | None, options.GRID] = None,
    square: Annotated[str, options.SQUARE] = "pad",
    shard_size: Annotated[int, options.SHARD_SIZE] = 512,
    batch_size: Annotated[int | None, options.BATCH_SIZE] = None,
    workers: Annotated[int | None, options.WORKERS] = None,
    max_rejects: Annotated[int | None, options.MAX_REJECTS] = None,
    as_json: Annotated[bool, options.JSON] = False,
) -> None:
    """Count images, bytes and hours before anything is written; refuse what cannot fit."""
    from pipelines.cache_estimate import summarise_plan
    from pipelines.cache_request import CacheRequest
    from stores import check_space

    request = CacheRequest(
        vfm=vfm,
        data=data,
        images=images,
        trust_paths=trust_paths,
        tiles=tiles,
        out=out,
        codec=codec,
        store=store,
        profile=profile,
        weights=weights,
        device=device,
        dtype=dtype,
        grid=grid,
        square=square,
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
    vfm: Annotated[str, options.VFM] = "dinov2",
    data: Annotated[list[Path] | None, options.DATA] = None,
    images: Annotated[Path | None, options.IMAGES] = None,
    trust_paths: Annotated[bool, options.TRUST] = False,
    tiles: Annotated[str | None, options.TILES] = None,
    out: Annotated[Path | None, options.OUT] = None,
    codec: Annotated[str, options.CODEC] = "int8",
    store: Annotated[str, options.STORE] = "zarr",
    profile: Annotated[str, options.PROFILE] = "paper",
    weights: Annotated[str | None, options.WEIGHTS] = None,
    device: Annotated[str | None, options.DEVICE] = None,
    dtype: Annotated[str | None, options.DTYPE] = None,
    grid: Annotated[int | None, options.GRID] = None,
    square: Annotated[str, options.SQUARE] = "pad",
    shard_size: Annotated[int, options.SHARD_SIZE] = 512,
    batch_size: Annotated[int | None, options.BATCH_SIZE] = None,
    workers: Annotated[int | None, options.WORKERS] = None,
    max_rejects: Annotated[int | None, options.MAX_REJECTS] = None,
    devices: Annotated[str | None, options.DEVICES] = None,
    engine: Annotated[str, options.ENGINE] = "local",
    address: Annotated[str | None, options.ADDRESS] = None,
    compile_: Annotated[bool, options.COMPILE] = False,
) -> None:
    """Build a store, or what is missing of it: the same command resumes, or joins those who are building it."""
    from pipelines.cache_build import build_cache
    from pipelines.cache_request import CacheRequest

    request = CacheRequest(
        vfm=vfm,
        data=data,
        images=images,
        trust_paths=trust_paths,
        tiles=tiles,
        out=out,
        codec=codec,
        store=store,
        profile=profile,
        weights=weights,
        device=device,
        dtype=dtype,
        grid=grid,
        square=square,
        shard_size=shard_size,
        batch_size=batch_size,
        workers=workers,
        max_rejects=max_rejects,
        devices=options.device_list(devices),
        engine=engine,
        address=address,
        compile=compile_,
    )
    result = build_cache(request, show_progress=True)
    typer.echo(build_text(result), err=result.manifest is None)
    if result.manifest is None:
        raise typer.Exit(INTERRUPTED)


@app.command()
def verify(
    path: Annotated[Path, options.PATH],
    repair: Annotated[
        bool, typer.Option("--repair", help="Drop what is damaged, so that a build makes it anew.")
    ] = False,
    recompute: Annotated[
        int, typer.Option(help="Also encode this many images again and compare directions; needs --images.")
    ] = 0,
    images: Annotated[Path | None, options.IMAGES] = None,
    weights: Annotated[str | None, options.WEIGHTS] = None,
    device: Annotated[str | None, options.DEVICE] = None,
    as_json: Annotated[bool, options.JSON] = False,
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
def info(path: Annotated[Path, options.PATH], as_json: Annotated[bool, options.JSON] = False) -> None:
    """Say what a store holds, what made it, and whether it is finished."""
    from pipelines.cache_info import describe_store

    description = describe_store(path)
    typer.echo(json.dumps(description, indent=2) if as_json else info_text(description))


@app.command()
def show(
    path: Annotated[Path, options.PATH],
    image: Annotated[Path, typer.Option(help="An image file that is in the store.")],
    out: Annotated[Path, typer.Option(help="PNG to write.")],
) -> None:
    """Draw an image beside the main directions of its cached features."""
    from pipelines.cache_show import show_image

    show_image(path, image, out)
    typer.echo(f"wrote {out}")
