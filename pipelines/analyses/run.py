"""Run an analysis: measure each model, report on all, publish the figures and then the file that names them."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipelines.analyses import get_analysis
from pipelines.analyses.figures import save_figure
from pipelines.analyses.job import Drawing, Job, Labelled
from pipelines.evaluate import hash_weights
from pipelines.replies import write_readable_json
from viral.benchmarks import get_profile
from viral.device import pick_device
from viral.errors import ConfigError, DataError

SETTINGS = "settings.json"
PACKAGES = ("viral", "torch", "transformers", "numpy")


def run_analysis(name: str, job: Job) -> Path:
    """Write `<out>/<name>.json` and its figures; returns the former. What is there already is not done again.

    Measurements are kept in `<out>/<name>/<label>/`, so a stopped run goes on, and a further model can be added.

    Raises:
        UnknownNameError: no such analysis or profile.
        ConfigError: no model, no such device, or `out` holds measurements made with other settings or weights.
        ViralError, StoreError: the analysis cannot be done; see its own functions.
    """
    analysis, target = get_analysis(name), job.out / f"{name}.json"
    if not job.models:
        raise ConfigError(f"No model to look at; give viral analyze {name} --model LABEL=DIR.")
    get_profile(job.profile)
    pick_device(job.device)
    settings = describe(job)
    weights = {model.label: hash_weights(model.path) for model in job.models}
    header = {
        "analysis": name,
        "title": analysis.title,
        "settings": settings,
        "models": {
            model.label: {"path": model.path, "weights": weights[model.label]} for model in job.models
        },
    }
    if _is_done(target, header):
        return target
    folders = {model.label: job.out / name / model.label for model in job.models}
    for model in job.models if analysis.parts else ():
        _claim(folders[model.label], model, settings, weights[model.label])
    for model in job.models:
        analysis.measure(job, model, folders[model.label])
    findings = analysis.report(job, folders)
    figures = [
        _publish(job.out, f"{name}_{number}" if analysis.gallery else name, drawing)
        for number, drawing in enumerate(findings.drawings)
    ]
    versions = {package: version(package) for package in PACKAGES}
    write_readable_json(target, header | {"versions": versions, "figures": figures, "data": findings.data})
    return target


def describe(job: Job) -> dict[str, Any]:
    """All that the numbers depend on but the models, as JSON values."""
    shown = get_profile(job.profile)
    settings: dict[str, Any] = {"profile": shown.name, "image_mode": shown.image_mode, "dtype": job.dtype}
    if job.questions is not None:
        settings["questions"] = job.questions.describe()
    plain: dict[str, Any] = json.loads(json.dumps(settings | job.settings.describe()))
    return plain


def _is_done(target: Path, header: dict[str, Any]) -> bool:
    try:
        found = json.loads(target.read_text(encoding="utf-8"))
        made = all((target.parent / figure["file"]).is_file() for figure in found["figures"])
    except FileNotFoundError:
        return False
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{target} is damaged; remove it, and run the analysis again.") from error
    return made and all(found.get(name) == value for name, value in header.items())


def _claim(folder: Path, model: Labelled, settings: dict[str, Any], weights: str | None) -> None:
    """Mark a folder as holding measurements of this model with these settings, or make sure that it does."""
    made = settings | {"model": model.path if weights is None else weights}
    path = folder / SETTINGS
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        write_readable_json(path, made)
        return
    except ValueError as error:
        raise DataError(f"{path} is damaged; remove the folder {folder}, or give another --out.") from error
    for name in {**made, **known}:
        if known.get(name) != made.get(name):
            raise ConfigError(
                f"{folder} holds measurements with {name}={known.get(name)!r}, now it is {made.get(name)!r}; "
                "give another --out, or remove that folder."
            )


def _publish(out: Path, stem: str, drawing: Drawing) -> dict[str, str]:
    save_figure(drawing.figure, out / stem)
    return {"file": f"{stem}.svg", "png": f"{stem}.png", "caption": drawing.caption}
