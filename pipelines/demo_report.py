"""Gather what the demo's page shows: curves from the metrics, pictures from the models, facts from the cache."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from pipelines.comparison import Row
from pipelines.report.demo_page import NAMES, CacheFacts, DemoReport, Panel, StepTime
from pipelines.report.items import Packed
from pipelines.report.svg import Curve
from pipelines.training.config import TrainConfig
from pipelines.training.folder import read_metrics
from pipelines.training.timing import median_ratio
from stores import Manifest
from viral.analysis.layers import visual_tokens
from viral.analysis.pca import pca_pictures
from viral.benchmarks import get_benchmark, load_items
from viral.data.images import decode_image, to_square
from viral.mllm.student import load_student
from viral.teachers import get_teacher
from viral.teachers.load import load_teacher

NUM_PANELS = 6
PACKAGES = ("viral", "torch", "transformers", "peft", "timm", "zarr")


def demo_report(
    out: Path,
    rows: list[Row],
    items: Packed,
    step_seconds: np.ndarray,
    config: TrainConfig,
    manifest: Manifest,
) -> DemoReport:
    """Everything on the page, from a finished demo in `out`; `step_seconds` is [pairs, (baseline, viral)]."""
    metrics = {kind: read_metrics(out / "runs" / kind) for kind in NAMES}
    cosine = [line for line in metrics["viral"] if line["align/cosine"] is not None]
    ratio, low, high = median_ratio(step_seconds)
    baseline_seconds, viral_seconds = np.median(step_seconds, axis=0)
    num_bytes = sum(path.stat().st_size for path in (out / "cache").rglob("*") if path.is_file())
    return DemoReport(
        title="Visual alignment on a micro-world",
        rows=rows,
        items=items,
        step_time=StepTime(
            pairs=len(step_seconds),
            ratio=ratio,
            low=low,
            high=high,
            baseline_seconds=float(baseline_seconds),
            viral_seconds=float(viral_seconds),
        ),
        cosine=[Curve("VIRAL", "viral", *_series(cosine, "align/cosine"))],
        lm_loss=[Curve(NAMES[kind], kind, *_series(metrics[kind], "loss/lm")) for kind in NAMES],
        layer=_layer(config),
        gallery=_gallery(out, config),
        cache=CacheFacts(
            teacher=manifest.spec.fingerprint["teacher"],
            images=manifest.num_images,
            num_bytes=num_bytes,
            codec=manifest.spec.codec,
            cosine=manifest.kappa,
        ),
        settings=_settings(config, manifest, len(metrics["viral"])),
    )


def _layer(config: TrainConfig) -> int:
    """The demo aligns one layer, and its recipe says its index."""
    assert isinstance(config.align.layer, int)
    return config.align.layer


def _series(metrics: list[dict[str, float]], key: str) -> tuple[list[float], list[float]]:
    """Steps and values of one metric."""
    return [line["step"] for line in metrics], [line[key] for line in metrics]


def _gallery(out: Path, config: TrainConfig) -> list[Panel]:
    """Held-out pictures beside the PCA of their features in teacher, baseline and VIRAL."""
    items = load_items(get_benchmark("cvbench"), out / "benchmarks")
    paths = [item.image for item in items[:: len(items) // NUM_PANELS][:NUM_PANELS]]
    images = [decode_image(path) for path in paths]
    teacher = load_teacher(get_teacher(config.align.resolved().teacher or ""))
    side = teacher.square_size
    squares = np.stack([to_square(image, side) for image in images])
    features = {"teacher": teacher(torch.from_numpy(squares)).numpy()}
    for kind in NAMES:
        student = load_student(str(out / "models" / kind))
        features[kind] = visual_tokens(student, images, _layer(config))
    pictures = {
        name: pca_pictures(list(array), teacher.grid, shared_basis=True) for name, array in features.items()
    }
    return [
        Panel(
            caption=Path(str(path)).name,
            image=squares[i],
            **{name: drawn[i] for name, drawn in pictures.items()},
        )
        for i, path in enumerate(paths)
    ]


def _settings(config: TrainConfig, manifest: Manifest, num_steps: int) -> dict[str, str]:
    fingerprint, align, lora = manifest.spec.fingerprint, config.align.resolved(), config.lora
    assert lora is not None
    rows, columns = manifest.spec.grid
    return {
        "Runs": f"{num_steps} steps of {config.data.batch_size} samples each, seed {config.seed}",
        "Objective": f"{align.objective}, layer {align.layer}, weight {align.weight}; baseline: none",
        "LoRA": f"rank {lora.rank}, alpha {lora.alpha}, rate {config.optim.lr}",
        "Projector": f"trained in full, rate {config.optim.projector_lr}",
        "Teacher": f"{fingerprint['teacher']}, profile {fingerprint['profile']}, {rows} x {columns} tokens",
        "Teacher weights": f"SHA-256 {fingerprint['weights_sha256']}",
        "Machine": f"{platform.machine()}, {os.cpu_count()} cores, {_device()}",
        "Versions": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
    }


def _device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
