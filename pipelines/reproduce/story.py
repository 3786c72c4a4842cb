"""`viral reproduce`: the checklist, the steps, the pages; stopped anywhere, the same words go on."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from pipelines.microworld import world_digest
from pipelines.report.figures import read_analyses
from pipelines.reproduce.checklist import Need, check_needs
from pipelines.reproduce.execute import StepError, run_steps, run_viral
from pipelines.reproduce.graph import Graph, Request, plan_graph
from pipelines.reproduce.markdown import figures_markdown, markdown
from pipelines.reproduce.page import page
from pipelines.reproduce.paper_notes import TABLE_NOTES
from pipelines.reproduce.result import made_with, read_table
from pipelines.reproduce.shuffles import read_shuffles
from stores.publish import publish, write_json
from viral.errors import ConfigError

MARKER = "reproduction.json"
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What would be done, and what is needed for it."""

    request: Request
    graph: Graph
    needs: list[Need]

    @property
    def missing(self) -> list[Need]:
        """What has to be fetched or made room for first."""
        return [need for need in self.needs if not need.is_here]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """What a reproduction ends in: its table and figures as Markdown, and its files."""

    text: str
    files: tuple[Path, ...]


def plan(request: Request, launcher: Sequence[str] = ()) -> Plan:
    """Steps and checklist; nothing is written.

    Raises:
        ConfigError: nothing to run at this scale, or settings that do not fit.
    """
    graph = plan_graph(request)
    return Plan(request=request, graph=graph, needs=check_needs(request, graph, launcher))


def carry_out(planned: Plan, launcher: Sequence[str], say: Say) -> Finished:
    """Run what is missing, then write the pages.

    Raises:
        ConfigError: something of the checklist is missing, or the root holds something else.
        StepError: a command failed.
        KeyboardInterrupt: asked to stop; what is finished is kept.
    """
    request, graph = planned.request, planned.graph
    if planned.missing:
        names = ", ".join(need.name for need in planned.missing)
        raise ConfigError(f"{request.target.name} cannot start; missing: {names}.")
    _claim(request)
    for note in graph.left_out:
        say(f"left out at scale {request.scale.name}: {note}")
    run_steps(graph.steps, launcher, say)
    return _finish(request, graph)


def _claim(request: Request) -> None:
    """Mark an empty root as ours, or make sure that it is of the same scale, world and version."""
    root, scale = request.place.root, request.scale
    identity = {"viral": version("viral"), "scale": scale.name}
    if scale.draws_world:
        identity["world"] = world_digest()
    marker = root / MARKER
    if marker.is_file():
        try:
            known = json.loads(marker.read_text())
        except ValueError:
            known = None
        if known != identity:
            raise ConfigError(
                f"{root} holds a reproduction of another scale or version ({known}); give another --root, or delete it."
            )
    elif root.exists() and not root.is_dir():
        raise ConfigError(f"{root} is a file; give a folder with --root.")
    elif root.exists() and any(root.iterdir()):
        raise ConfigError(f"{root} is not empty and holds no reproduction of ours; give another --root.")
    else:
        write_json(marker, identity)


def _finish(request: Request, graph: Graph) -> Finished:
    """Table, page and report."""
    target, place = request.target, request.place
    base = place.pages / f"{target.name}-{request.profile}"
    table = read_table(request, graph) if graph.rows else read_shuffles(request, graph)
    analyses = read_analyses({job.folder: place.analysis(job.folder) for job in graph.jobs})
    made = made_with(request)
    text = markdown(table) if table else f"# {target.title}\n\n{made}\n"
    text += figures_markdown(analyses, place.pages, target.shows)
    stored = asdict(table) if table else {"title": target.title, "made": made, "left_out": graph.left_out}
    stored |= {"analyses": [str(place.analysis(job.folder)) for job in graph.jobs]}
    written = {
        ".md": text,
        ".html": page(
            target.title,
            made=made,
            shows=target.shows,
            table=table,
            analyses=analyses,
            notes=TABLE_NOTES.get(target.name, ()),
            left_out=graph.left_out,
        ),
        ".json": json.dumps(stored, indent=1) + "\n",
    }
    for suffix, content in written.items():
        with publish(base.with_suffix(suffix)) as partial:
            partial.write_text(content, encoding="utf-8")
    report = base.with_name(f"{base.name}-report.html")
    if code := run_viral(report_words(request, graph, report)):
        raise StepError(
            f"viral report failed with exit code {code}; the table is in {base.with_suffix('.md')}."
        )
    return Finished(text=text, files=(*(base.with_suffix(suffix) for suffix in written), report))


def report_words(request: Request, graph: Graph, out: Path) -> list[str]:
    """The command that writes the report on every evaluation, run and analysis of a target."""
    place = request.place
    # First seeds first, so that the first two evaluations, which the page opens with, are two rows of the table.
    runs = [row.runs[seed] for seed in range(request.seeds) for row in graph.rows]
    folders = dict.fromkeys(
        [
            *(f"{run.name}={place.replies(run, request.profile)}" for run in runs),
            *(f"{run.name}={place.run(run)}" for run in graph.all_runs),
            *(f"{job.folder}={place.analysis(job.folder)}" for job in graph.jobs),
        ]
    )
    title = ["--title", request.target.title]
    return ["report", *folders, "--data", str(place.benchmarks), "--out", str(out), *title]
