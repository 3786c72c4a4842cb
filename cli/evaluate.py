"""`viral eval`, `viral score` and `viral generate`."""

import json
from pathlib import Path
from typing import Annotated

import typer

Profile = Annotated[
    str, typer.Option(help="paper (crop, the release's rules) or clean (pad, the benchmark's own).")
]
Data = Annotated[Path, typer.Option(help="Folder that holds cvbench/, MMVP/, POPE/, ...")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]

ALL = "cvbench,mmvp,whatsup,pope,mmstar,mme"


def eval_(
    model: Annotated[
        str,
        typer.Option(
            help="Plain Hugging Face LLaVA folder (viral export makes one), hub id, or a run's folder."
        ),
    ],
    benchmarks: Annotated[str, typer.Option(help="Names, comma-separated.")] = ALL,
    data: Data = Path("playground/benchmarks"),
    output: Annotated[
        Path, typer.Option(help="Folder for replies and scores; the same folder resumes.")
    ] = Path("eval"),
    profile: Profile = "paper",
    batch_size: Annotated[
        int | None,
        typer.Option(help="Questions at a time (default: 32, on a GPU 256; halved if they do not fit)."),
    ] = None,
    device: Device = "auto",
    dtype: Annotated[
        str, typer.Option(help="auto (float32 on a CPU, else float16), float32, bfloat16, float16.")
    ] = "auto",
    backend: Annotated[
        str, typer.Option(help="transformers, or vllm (installed apart; GPU only).")
    ] = "transformers",
) -> None:
    """Ask a model the questions of benchmarks, score the replies, write replies.jsonl and scores.json."""
    from pipelines.evaluate import evaluate
    from pipelines.score_table import score_table
    from pipelines.scores_file import SCORES

    names = [name.strip() for name in benchmarks.split(",") if name.strip()]
    scores = evaluate(
        model,
        names,
        data,
        output,
        profile=profile,
        batch_size=batch_size,
        device=device,
        dtype=dtype,
        backend=backend,
    )
    typer.echo(score_table(scores.values()))
    typer.echo(f"wrote {output / SCORES}")


def score(
    benchmark: Annotated[str, typer.Option(help="Which benchmark the replies answer.")],
    replies: Annotated[Path, typer.Option(help="JSON lines with id and reply.")],
    data: Data = Path("playground/benchmarks"),
    profile: Annotated[
        str | None, typer.Option(help="paper or clean (default: that of the generation, else paper).")
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Score what is there although items or replies are missing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all scores as JSON.")] = False,
) -> None:
    """Score stored replies; needs no model and no pictures."""
    from pipelines import evaluate
    from pipelines.score_table import score_table

    scores = evaluate.score(benchmark, data, replies, profile=profile, partial=partial)
    typer.echo(json.dumps(scores, indent=1) if as_json else score_table([scores]))


def generate(
    model: Annotated[str, typer.Option(help="Plain Hugging Face LLaVA folder, hub id, or a run's folder.")],
    image: Annotated[Path, typer.Option(help="Picture to ask about.")],
    prompt: Annotated[str, typer.Option(help="The question, without system text or image tag.")],
    profile: Profile = "clean",
    max_new_tokens: Annotated[int, typer.Option(help="Longest reply, in tokens.")] = 128,
    device: Device = "auto",
) -> None:
    """Print a model's greedy reply to one question on one image."""
    from pipelines.evaluate import generate_one

    typer.echo(
        generate_one(model, image, prompt, profile=profile, max_new_tokens=max_new_tokens, device=device)
    )
