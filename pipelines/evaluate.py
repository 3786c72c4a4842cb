"""Ask a model every question of a benchmark, then score what it said. The two can run on different machines."""

import hashlib
import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.answering import Answer, get_backend
from pipelines.progress import bar
from pipelines.replies import ReplyLog, hash_files, read_settings
from pipelines.scores_file import add_scores, require_same_model
from pipelines.wording import asked_template
from viral.benchmarks import (
    Benchmark,
    Item,
    get_benchmark,
    get_profile,
    load_items,
    prompt,
    read_replies,
    summarise,
)
from viral.benchmarks.files import fingerprint, require_images
from viral.data.conversation import get_template, with_image
from viral.errors import ConfigError, DataError, UnknownNameError

if TYPE_CHECKING:
    import torch

DTYPES = ("auto", "float32", "bfloat16", "float16")
FALLBACK_BATCH = 32
"""On devices that a backend says nothing about."""


def evaluate(
    model: str,
    benchmarks: Sequence[str],
    data_dir: Path,
    out_dir: Path,
    *,
    profile: str = "paper",
    batch_size: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
    backend: str = "transformers",
) -> dict[str, dict[str, Any]]:
    """Generate what is missing, score it, add it to `scores.json`; returns these scores by benchmark name.

    Raises:
        UnknownNameError, DataError, ConfigError, ImageError, WeightsError: see the parts.
    """
    replies = generate_replies(
        model,
        benchmarks,
        data_dir,
        out_dir,
        profile=profile,
        batch_size=batch_size,
        device=device,
        dtype=dtype,
        backend=backend,
    )
    scores = {name: score(name, data_dir, path, profile=profile) for name, path in replies.items()}
    add_scores(out_dir, scores)
    return scores


def generate_replies(
    model: str,
    benchmarks: Sequence[str],
    data_dir: Path,
    out_dir: Path,
    *,
    profile: str = "paper",
    batch_size: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
    backend: str = "transformers",
) -> dict[str, Path]:
    """Write `<out>/<benchmark>/replies.jsonl`, going on where an earlier call was stopped; returns the paths.

    Items, pictures and earlier replies are checked for all benchmarks before the model is loaded. Without a
    `batch_size` the backend's is tried. `dtype` is one of `DTYPES`; `auto` is float32 on a CPU and float16, as in
    the release, elsewhere.

    Raises:
        UnknownNameError: no such benchmark, profile, backend or dtype.
        ConfigError: no benchmark given, no such device, a model that the backend does not take, or the output holds
            replies made with other settings, or scores of another model.
        DataError: benchmark files are missing or damaged, or pictures are missing.
        ImageError: a picture cannot be decoded; what was answered before it is kept.
        WeightsError: no model there.
    """
    from viral.device import pick_device

    if not benchmarks or (batch_size is not None and batch_size < 1):
        raise ConfigError(f"Nothing to do for benchmarks={list(benchmarks)}, batch_size={batch_size}.")
    get_profile(profile)
    chosen = [get_benchmark(name) for name in dict.fromkeys(benchmarks)]
    where, runner = pick_device(device), get_backend(backend)
    runner.check(model, where)
    items_of = {benchmark.name: load_items(benchmark, data_dir, profile) for benchmark in chosen}
    for items in items_of.values():
        require_images(items)
    maker = {
        "model": model,
        "weights": hash_weights(model),
        "dtype": pick_dtype(dtype, where),
        "backend": {backend: importlib.metadata.version(backend)},
    }
    require_same_model(out_dir, maker | {"profile": profile})
    template = asked_template(model, profile)
    logs = {
        benchmark.name: ReplyLog(
            out_dir / benchmark.name, describe(benchmark, items_of[benchmark.name], profile, template) | maker
        )
        for benchmark in chosen
    }
    unfinished = [spec for spec in chosen if len(logs[spec.name].answered) < len(items_of[spec.name])]
    if unfinished:
        answer = runner.load(model, where, str(maker["dtype"]))
        size = batch_size or runner.batch_size.get(where.type, FALLBACK_BATCH)
        for benchmark in unfinished:
            _ask(answer, benchmark, items_of[benchmark.name], logs[benchmark.name], profile, template, size)
    return {name: log.path for name, log in logs.items()}


def score(
    benchmark: str, data_dir: Path, replies: Path, *, profile: str | None = None, partial: bool = False
) -> dict[str, Any]:
    """Scores of a replies file (see `viral.benchmarks.summarise`); without a profile, that of its generation.

    Raises:
        UnknownNameError: no such benchmark or profile.
        DataError: the replies are damaged, or are not replies to these items.
    """
    spec = get_benchmark(benchmark)
    answers = read_replies(replies, partial=partial)
    settings = read_settings(replies) or {}
    profile = profile or str(settings.get("profile", "paper"))
    items = load_items(spec, data_dir, profile, partial=partial)
    if "data" in settings and settings["data"] != fingerprint(spec, items):
        raise DataError(
            f"{replies} answers {settings.get('benchmark')} questions other than those of {spec.title} in {data_dir}; "
            "see --benchmark and --data, or generate the replies again."
        )
    scores = summarise(spec, items, answers, profile, partial=partial)
    return scores | {"generated": {name: settings.get(name) for name in ("model", "profile", "weights")}}


def describe(benchmark: Benchmark, items: Sequence[Item], profile: str, template: str) -> dict[str, Any]:
    """Everything but the model that a reply depends on, as stored beside the replies."""
    shown, protocol = get_profile(profile), benchmark.protocols[profile]
    return {
        "benchmark": benchmark.name,
        "profile": profile,
        "image_mode": shown.image_mode,
        "template": template,
        "suffix": protocol.suffix,
        "decoding": "greedy",
        "max_new_tokens": protocol.max_new_tokens,
        "data": fingerprint(benchmark, items),
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "transformers", "pillow")},
    }


def hash_weights(model: str) -> str | None:
    """One digest over the weights, configuration and tokenizer of a local model folder; None for a hub id.

    Of a run it covers its checkpoint and its configuration, which names the base.
    """
    folder = Path(model)
    if not folder.is_dir():
        return None
    from pipelines.training.folder import CONFIG
    from pipelines.training.load import run_checkpoint

    files = [path for path in folder.iterdir() if path.suffix in (".safetensors", ".json", ".model")]
    if checkpoint := run_checkpoint(model):
        trained = [path for path in checkpoint.rglob("*.safetensors") if "optimizer" not in path.name]
        files = [checkpoint.parent.parent / CONFIG, *trained]
    listing = "".join(f"{digest}  {name}\n" for name, digest in hash_files(files).items())
    return hashlib.sha256(listing.encode()).hexdigest()


def pick_dtype(name: str, device: "torch.device") -> str:
    """The precision that `name` means on a device.

    Raises:
        UnknownNameError: none of `DTYPES`.
    """
    if name not in DTYPES:
        raise UnknownNameError("dtype", name, list(DTYPES))
    return ("float32" if device.type == "cpu" else "float16") if name == "auto" else name


def generate_one(
    model: str,
    image: Path,
    question: str,
    *,
    profile: str = "clean",
    max_new_tokens: int = 128,
    device: str = "auto",
) -> str:
    """A model's reply to one question on one image.

    Raises:
        UnknownNameError, ConfigError, DataError, ImageError, WeightsError: as `generate_replies`.
    """
    from pipelines.training.load import load_model
    from viral.device import pick_device
    from viral.mllm.generate import Question, generate

    shown = get_profile(profile)
    where = pick_device(device)
    student = load_model(model, device=str(where), dtype=pick_dtype("auto", where))
    template = get_template(asked_template(model, profile))
    asked = Question("prompt", template.prompt(with_image(question)), image)
    ((_, reply),) = generate(
        student, [asked], max_new_tokens=max_new_tokens, image_mode=shown.image_mode, batch_size=1
    )
    return reply.strip()


def _ask(
    answer: Answer,
    benchmark: Benchmark,
    items: list[Item],
    log: ReplyLog,
    profile: str,
    template: str,
    batch_size: int,
) -> None:
    from viral.mllm.generate import Question

    prompts = {item.id: prompt(benchmark, item, profile, template) for item in items}
    asked = [Question(item.id, prompts[item.id], item.image) for item in items if item.id not in log.answered]
    replies = answer(
        asked,
        max_new_tokens=benchmark.protocols[profile].max_new_tokens,
        image_mode=get_profile(profile).image_mode,
        batch_size=batch_size,
    )
    progress = bar(len(items), benchmark.title, True, len(log.answered), "item")
    with log, progress:
        for id_, reply in replies:
            log.add(id_, benchmark.kept(reply), prompts[id_])
            progress.update()
