"""`viral analyze`: what the layers of trained models hold, where they look, what they make of a shuffled picture."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Look into trained models: data as JSON, figures as SVG and PNG.", no_args_is_help=True
)

Models = Annotated[
    list[str],
    typer.Option(
        "--model",
        metavar="[LABEL=]DIR",
        help="Hugging Face LLaVA folder, run, checkpoint, or hub id; may be given several times, the baseline first.",
    ),
]
Out = Annotated[Path, typer.Option(help="Folder for data and figures; the same folder resumes.")]
Images = Annotated[Path | None, typer.Option(help="Look at the pictures of this folder.")]
Benchmark = Annotated[str | None, typer.Option(help="Look at the pictures and questions of this benchmark.")]
Group = Annotated[str | None, typer.Option(help="Only this task of the benchmark, as in relation.")]
Data = Annotated[Path, typer.Option(help="Folder of the benchmarks, as for viral eval.")]
Limit = Annotated[int | None, typer.Option(help="At most so many, evenly spread over what there is.")]
Layers = Annotated[
    str | None,
    typer.Option(
        help="Layers, comma-separated; a number with a point is a share of the depth. all: every one."
    ),
]
Caches = Annotated[
    list[str] | None,
    typer.Option(
        "--cache", metavar="[LABEL=]PATH", help="Also a teacher's cached features of these pictures."
    ),
]
Profile = Annotated[
    str, typer.Option(help="How pictures and questions are shown: paper (crop) or clean (pad).")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
BatchSize = Annotated[int, typer.Option(help="Pictures or questions per forward pass.")]
BENCHMARKS_FOLDER = Path("playground/benchmarks")


@app.command()
def cknna(
    model: Models,
    images: Images = None,
    benchmark: Benchmark = None,
    group: Group = None,
    data: Data = BENCHMARKS_FOLDER,
    limit: Limit = 100,
    layers: Layers = "all",
    level: Annotated[
        str, typer.Option(help="token: patches of a picture, mean over pictures; image: pooled pictures.")
    ] = "token",
    k: Annotated[int, typer.Option(help="Nearest neighbours.")] = 10,
    clamp: Annotated[
        float,
        typer.Option(help="Cut features to this quantile of |x| first, as the reference does; 0: do not."),
    ] = 0.95,
    cache: Caches = None,
    profile: Profile = "clean",
    out: Out = Path("analysis"),
    device: Device = "auto",
    batch_size: BatchSize = 8,
) -> None:
    """Layer-wise alignment of visual tokens with vision features (Figures 2 and 9)."""
    from pipelines.analyses.ask import parse_layers, pick_pictures, run
    from pipelines.analyses.caches import open_caches
    from pipelines.analyses.cknna import CknnaSettings

    settings = CknnaSettings(
        layers=parse_layers(layers), level=level, k=k, clamp=clamp or None, caches=open_caches(cache)
    )
    questions = pick_pictures(images, benchmark, group, data, profile, limit)
    _tell(run("cknna", model, settings, out, profile, questions, device, batch_size))


@app.command()
def entropy(
    model: Models,
    questions: Annotated[
        Path | None,
        typer.Option(
            help="Table with question_id, img_id, question, answer; pictures in --images as <img_id>.jpg."
        ),
    ] = None,
    images: Images = None,
    benchmark: Benchmark = None,
    group: Group = None,
    data: Data = BENCHMARKS_FOLDER,
    limit: Limit = None,
    layers: Layers = "all",
    threshold: Annotated[
        float, typer.Option(help="Least attention above a map's mean that belongs to a blob; absolute.")
    ] = 0.001,
    profile: Profile = "clean",
    out: Out = Path("analysis"),
    device: Device = "auto",
) -> None:
    """Spatial entropy of the reply's attention, by layer and head (Figure 4)."""
    from pipelines.analyses.ask import parse_layers, pick_questions, run
    from pipelines.analyses.entropy import EntropySettings

    settings = EntropySettings(layers=parse_layers(layers), threshold=threshold)
    asked = pick_questions(questions, images, benchmark, group, data, profile, limit)
    _tell(run("entropy", model, settings, out, profile, asked, device))


@app.command()
def attention(
    model: Models,
    images: Images = None,
    question: Annotated[str | None, typer.Option(help="What to ask about the pictures of --images.")] = None,
    benchmark: Benchmark = None,
    group: Group = None,
    data: Data = BENCHMARKS_FOLDER,
    limit: Limit = 4,
    layers: Layers = "0.25,0.5,0.75,1.0",
    profile: Profile = "clean",
    out: Out = Path("analysis"),
    device: Device = "auto",
) -> None:
    """Where the tokens of a reply look in the picture (Figures 4 and 12): one figure for each question."""
    from pipelines.analyses.ask import parse_layers, pick_questions, run
    from pipelines.analyses.attention import AttentionSettings

    settings = AttentionSettings(layers=parse_layers(layers))
    asked = pick_questions(None, images, benchmark, group, data, profile, limit, question)
    _tell(run("attention", model, settings, out, profile, asked, device))


@app.command()
def permutation(
    model: Models,
    benchmark: Annotated[str, typer.Option(help="Which benchmark to ask.")] = "cvbench",
    data: Data = BENCHMARKS_FOLDER,
    seeds: Annotated[
        str, typer.Option(help="Seeds of the shuffling, comma-separated; at least three.")
    ] = "0,1,2",
    profile: Profile = "paper",
    out: Out = Path("analysis"),
    device: Device = "auto",
    batch_size: BatchSize = 32,
) -> None:
    """Right answers with the picture's patches in order and shuffled, by task (Table 3)."""
    from pipelines.analyses.ask import parse_seeds, run
    from pipelines.analyses.permutation import PermutationSettings

    settings = PermutationSettings(benchmark=benchmark, data=data, profile=profile, seeds=parse_seeds(seeds))
    _tell(run("permutation", model, settings, out, profile, None, device, batch_size))


@app.command()
def pca(
    model: Models,
    images: Images = None,
    benchmark: Benchmark = None,
    group: Group = None,
    data: Data = BENCHMARKS_FOLDER,
    limit: Limit = 4,
    layers: Layers = "0.0,0.25,0.5,0.75,1.0",
    basis: Annotated[
        str,
        typer.Option(help="Which maps of a picture share one fit: own (none), models (at each layer), all."),
    ] = "own",
    cache: Caches = None,
    profile: Profile = "clean",
    out: Out = Path("analysis"),
    device: Device = "auto",
) -> None:
    """PCA maps of visual tokens across layers (Figures 5, 10, 11): one figure for each picture."""
    from pipelines.analyses.ask import parse_layers, pick_pictures, run
    from pipelines.analyses.caches import open_caches
    from pipelines.analyses.pca import PcaSettings

    settings = PcaSettings(layers=parse_layers(layers), basis=basis, caches=open_caches(cache))
    questions = pick_pictures(images, benchmark, group, data, profile, limit)
    _tell(run("pca", model, settings, out, profile, questions, device))


@app.command()
def curve(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", metavar="[LABEL=]RUN", help="Training run; each of its checkpoints is evaluated."
        ),
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(metavar="[LABEL=]DIR", help="Model or run whose last state is a horizontal line."),
    ] = None,
    evals: Annotated[
        list[str] | None,
        typer.Option(metavar="[LABEL=]DIR", help="Folder of viral eval, or one of step-<n> folders of it."),
    ] = None,
    benchmarks: Annotated[
        str, typer.Option(help="Whose headlines are averaged, comma-separated.")
    ] = "cvbench,mmvp",
    data: Data = BENCHMARKS_FOLDER,
    profile: Profile = "paper",
    out: Out = Path("analysis"),
    device: Device = "auto",
    batch_size: BatchSize = 32,
) -> None:
    """Scores after every saved step of training (Figure 6)."""
    from pipelines.analyses.ask import run
    from pipelines.analyses.curve import CurveSettings
    from pipelines.analyses.job import parse_labelled

    settings = CurveSettings(
        benchmarks=tuple(name.strip() for name in benchmarks.split(",") if name.strip()),
        data=data,
        profile=profile,
        baselines=parse_labelled(baseline or [], "--baseline"),
        evals=parse_labelled(evals or [], "--evals"),
    )
    lines = [*(model or []), *(baseline or []), *(evals or [])]
    _tell(run("curve", lines, settings, out, profile, None, device, batch_size))


def _tell(result: Path) -> None:
    typer.echo(f"wrote {result}")
