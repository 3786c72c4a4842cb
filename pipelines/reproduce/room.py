"""How much disk a reproduction still needs, about."""

from pipelines.reproduce.downloads import GB, MB, WEIGHT_BYTES
from pipelines.reproduce.graph import Graph, Request
from pipelines.reproduce.runs import Cache, Run
from stores.codecs import get_codec
from viral.teachers import get_teacher

NUM_IMAGES = {"full": 340_000, "micro": 3_200}
"""Distinct images of LLaVA-665K, an assumption (docs/planning.md counts them); conversations of the micro-world."""
CHECKPOINT_BYTES = {
    "lmsys/vicuna-7b-v1.5": 4_300 * MB,
    "lmsys/vicuna-13b-v1.5": 6_600 * MB,
    "Qwen/Qwen2.5-7B-Instruct": 4_300 * MB,
}
"""LoRA, projector and head in fp32 with AdamW's two moments, by LLM."""
MICRO_BYTES = 10 * MB
"""Of a checkpoint or a model of the micro-world, which no table above knows."""
STEPS = 5_197
WORLD_BYTES, REPLIES_BYTES = 100 * MB, 10 * MB


def needed_bytes(request: Request, graph: Graph) -> int:
    """Bytes of what is not there yet, data and weights to be fetched not included."""
    place, runs = request.place, graph.all_runs
    caches = {run.cache for run in runs if run.cache and not place.cache(run.cache).exists()}
    total = sum(cache_bytes(cache, NUM_IMAGES[request.scale.name]) for cache in caches)
    total += sum(checkpoint_bytes(run) for run in runs if not place.run(run).exists())
    total += sum(model_bytes(run) for run in runs if not place.model(run).exists())
    total += REPLIES_BYTES * len(runs)
    return total + (WORLD_BYTES if request.scale.draws_world and not place.world.exists() else 0)


def cache_bytes(cache: Cache, num_images: int) -> int:
    """Codes of a teacher's features."""
    teacher, codec = get_teacher(cache.vfm), get_codec(cache.codec)
    num_tokens = teacher.grid[0] * teacher.grid[1]
    return num_images * num_tokens * teacher.dim * codec.bits // 8


def checkpoint_bytes(run: Run) -> int:
    """Those that are kept, and the one being written."""
    config = run.config
    kept = min(config.keep_last, -(-STEPS // config.save_every))
    return (kept + 1) * CHECKPOINT_BYTES.get(config.model.llm or "", MICRO_BYTES)


def model_bytes(run: Run) -> int:
    """Merged weights: the LLM's in bfloat16, and the tower's half of its download."""
    if not run.is_exportable:
        return 0
    return WEIGHT_BYTES.get(run.config.model.llm or "", MICRO_BYTES) + (
        GB if run.config.model.llm in WEIGHT_BYTES else 0
    )
