"""Whether a step's result is there: asked of the result itself, and of what it was made from, never of a marker.

Whatever is missing, damaged, or made from something else counts as not done. The step's command then goes on with
it, or says in its own words why it cannot.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pipelines.evaluate import hash_weights, score
from pipelines.replies import REPLIES
from pipelines.scores_file import read_scores
from pipelines.training.checkpoint import checkpoint_at, verify
from pipelines.training.config import TrainConfig, read_config
from pipelines.training.folder import CHECKPOINTS, CONFIG, INPUTS, check_folder
from pipelines.training.inputs import describe_cache
from stores import load_manifest, load_plan, open_store
from stores.errors import StoreError
from stores.shard import shard_bytes
from viral.errors import ViralError
from viral.mllm.projector import PROJECTOR_FILE
from viral.teachers import get_teacher

ORIGIN = "viral.json"
"""What `viral export` leaves beside the weights."""


def cache_is_done(path: Path, *, vfm: str, profile: str, codec: str) -> bool:
    """Whether a store is finished, of this teacher, profile and codec, and every shard has its size."""
    try:
        load_manifest(path)
        plan = load_plan(path)
        spec, made = plan.spec, plan.spec.fingerprint
        if (made["teacher"], made["profile"], spec.codec) != (get_teacher(vfm).name, profile, codec):
            return False
        return all(
            (path / spec.shard_file(shard)).stat().st_size == shard_bytes(spec, len(plan.rows(shard)))
            for shard in range(plan.num_shards)
        )
    except (StoreError, ViralError, OSError, KeyError):
        return False


def run_is_done(path: Path, config: TrainConfig, store: Path | None) -> bool:
    """Whether a run with this configuration has a whole checkpoint of its last step.

    If its store is still there, it has to be the one that the run was trained against.
    """
    try:
        check_folder(path, config.resolved(), resume=True)
        inputs = json.loads((path / INPUTS).read_text())
        if (
            store
            and store.exists()
            and inputs["cache"] != json.loads(json.dumps(describe_cache(store, open_store(store))))
        ):
            return False
        done = verify(checkpoint_at(path / CHECKPOINTS), optimizer=False)
        return bool(done == config.num_steps(inputs["samples"]["count"]))
    except (StoreError, ViralError, OSError, ValueError, KeyError, TypeError):
        return False


def projector_is_done(path: Path, config: TrainConfig) -> bool:
    """Whether a stage one is done, and its projector lies where stage two looks for it."""
    return run_is_done(path, config, None) and (path / PROJECTOR_FILE).is_file()


def export_is_done(run: Path, out: Path) -> bool:
    """Whether `out` holds the whole model of a run's newest checkpoint."""
    from safetensors import SafetensorError, safe_open

    try:
        origin = json.loads((out / ORIGIN).read_text())
        newest = checkpoint_at(run / CHECKPOINTS).name
        if origin["checkpoint"] != newest or origin["config"] != read_config(run / CONFIG).model_dump(
            mode="json"
        ):
            return False
        shards = sorted(out.glob("*.safetensors"))
        for shard in shards:
            safe_open(shard, "numpy").__enter__()  # its header has to fit the file's size
        return bool(shards)
    except (ViralError, OSError, ValueError, KeyError, TypeError, SafetensorError):
        return False


def eval_is_done(out: Path, model: Path, benchmarks: Sequence[str], data: Path, profile: str) -> bool:
    """Whether this very model has answered every question, and the stored scores are those of its replies."""
    try:
        stored = read_scores(out)
        return all(
            stored[name]["generated"]["weights"] == _weights(model)
            and stored[name]
            == json.loads(json.dumps(score(name, data, out / name / REPLIES, profile=profile)))
            for name in benchmarks
        )
    except (ViralError, OSError, KeyError, TypeError):
        return False


def analysis_is_done(out: Path, name: str, models: Mapping[str, Path]) -> bool:
    """Whether an analysis of these very models is there, with all its figures."""
    try:
        found: dict[str, Any] = json.loads((out / f"{name}.json").read_text())
        same = {label: made["weights"] for label, made in found["models"].items()} == {
            label: _weights(model) for label, model in models.items()
        }
        return same and all((out / figure["file"]).stat().st_size for figure in found["figures"])
    except (ViralError, OSError, ValueError, KeyError, TypeError):
        return False


def _weights(model: Path) -> str | None:
    """Digest of a model, taken once as long as none of its files changes."""
    stamp = max((path.stat().st_mtime_ns for path in model.rglob("*")), default=0)
    return _hashed(str(model), stamp)


@cache
def _hashed(model: str, stamp: int) -> str | None:
    return hash_weights(model)
