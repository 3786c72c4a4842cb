"""Verify a store: its bytes, and on demand its meaning, by encoding some images again.

Codes are never compared: another device, or another batch, rounds differently.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from pipelines.cache_decode import SquareDataset
from pipelines.cache_plan import store_spec
from pipelines.cache_request import CacheRequest, request_like
from pipelines.progress import bar
from stores import FeatureStore, Plan, load_plan, open_store
from stores.errors import FingerprintError
from stores.spec import differences
from stores.verify import VerifyReport, repair_store, verify_store
from viral.codecs import decode, device_tables
from viral.errors import ConfigError, DataError
from viral.teachers.teacher import Teacher

SLACK = 1e-3
"""Below the codec's floor by this much is wrong: two bfloat16 runs of a teacher differ by about 1e-5."""

# Libraries may differ between the machine that built and the one that verifies.
_MAY_DIFFER = ("torch", "timm", "transformers", "pillow")


@dataclass(frozen=True, kw_only=True, slots=True)
class RecomputeReport:
    """Lowest token cosine of the recomputed images (or views, where they are tiled), and which are wrong."""

    num_images: int
    worst: float
    wrong: tuple[str, ...]
    """Paths of images whose features do not point where the stored ones do."""


def verify_cache(
    root: Path,
    *,
    repair: bool = False,
    recompute: int = 0,
    images: Path | None = None,
    weights: str | None = None,
    device: str | None = None,
    show_progress: bool = False,
) -> tuple[VerifyReport, RecomputeReport | None]:
    """Check every byte of a store, drop what is damaged if asked to, and recompute images of a sound one.

    Raises:
        ConfigError: `recompute` without `images`.
        ViralError, StoreError: see `recompute_images` and `stores.verify`.
    """
    if recompute < 0:
        raise ConfigError(f"--recompute {recompute}: give a number of images, 0 for none.")
    if recompute and images is None:
        raise ConfigError("--recompute needs the folder of the images: give --images DIR.")
    check = repair_store if repair else verify_store
    with bar(0, "verify", show_progress, unit="shard") as progress:

        def advance(done: int, total: int) -> None:
            progress.total = total
            progress.update(done - progress.n)

        report = check(root, advance)
    if not report.ok or not recompute or images is None:
        return report, None
    return report, recompute_images(root, images, recompute, weights, device)


def recompute_images(
    root: Path, images: Path, num_images: int, weights: str | None = None, device: str | None = None
) -> RecomputeReport:
    """Encode up to `num_images` images, spread over the store, and compare them with their records.

    Teacher, profile and dtype come from the store; `weights` as for a build, random ones need not be named. What was
    appended is not looked at, since its images may lie elsewhere: name the part, a store of its own, as `root`.

    Raises:
        FingerprintError: the weights at hand are not the ones that built the store, or it does not say which.
        DataError: an image has gone, has changed, or cannot be read.
    """
    store, plan = open_store(root), load_plan(root)
    teacher = _teacher_of(plan, weights, device)
    rows = [row for row, key in enumerate(plan.keys) if key not in store.rejects]
    chosen = [rows[index] for index in np.unique(np.linspace(0, len(rows) - 1, num_images).astype(int))]
    floor = plan.codec.cosine_floor - SLACK
    lowest = [_lowest_cosine(store, plan, teacher, images, row) for row in chosen]
    wrong = [plan.paths[row] for row, cosine in zip(chosen, lowest, strict=True) if cosine < floor]
    return RecomputeReport(
        num_images=len(chosen),
        worst=min(lowest),
        wrong=tuple(dict.fromkeys(wrong)),
    )


def _teacher_of(plan: Plan, weights: str | None, device: str | None) -> Teacher:
    expected = plan.spec.fingerprint
    request = request_like(plan.spec, CacheRequest(weights=weights, device=device))
    teacher = request.load_teacher()
    found, wanted = (
        {name: value for name, value in fingerprint.items() if name not in _MAY_DIFFER}
        for fingerprint in (store_spec(request, teacher).fingerprint, expected)
    )
    fields = differences(found, wanted)
    if fields:
        raise FingerprintError(f"Another teacher built this store: {'; '.join(fields)}. Give its --weights.")
    return teacher


@torch.inference_mode()
def _lowest_cosine(store: FeatureStore, plan: Plan, teacher: Teacher, images: Path, row: int) -> float:
    square = SquareDataset(plan, images, teacher.square_size)[row]
    if problem := square.failure or (square.reject and square.reject.reason):
        raise DataError(f"Cannot recompute {plan.paths[row]!r} below {images}: {problem}.")
    features_1TD = teacher(torch.tensor(square.pixels)[None])
    device = features_1TD.device
    codes = torch.from_numpy(store.read(plan.keys[row])).to(device)
    stored_TD = decode(plan.spec.codec, codes, device_tables(store.tables, device))
    return float(F.cosine_similarity(features_1TD[0], stored_TD, dim=-1).min())
