"""What `viral cache` prints for people; `--json` prints the same numbers for programs."""

from typing import TYPE_CHECKING, Any

from stores.layout import PARTS

if TYPE_CHECKING:
    from pipelines.cache_build import BuildResult
    from pipelines.cache_estimate import PlanSummary
    from pipelines.cache_verify import RecomputeReport
    from stores import Manifest
    from stores.verify import VerifyReport

MAX_LINES = 20
"""Of a list that may be long."""
TEACHER = ("teacher", "weights", "profile", "scramble_seed")
"""What a fingerprint says of a teacher of ours, in the order of `_teacher`."""


def plan_text(summary: "PlanSummary") -> str:
    """Counts, bytes per codec, room and time."""
    sizes = ", ".join(
        f"{name} {_bytes(size)}{' (chosen)' if name == summary.codec else ''}"
        for name, size in summary.bytes_by_codec.items()
    )
    stages = ", ".join(f"{stage} {1 / cost:.1f}/s" for stage, cost in summary.seconds_per_image.items())
    return _table(
        {
            "teacher": _teacher(summary.teacher, summary.weights, summary.profile, summary.scramble_seed),
            "entries": f"{summary.num_entries:,}, of which {summary.num_text_only:,} are text only",
            **_sources(summary),
            "images": f"{summary.num_images:,} distinct{_views(summary)} in {summary.num_image_files:,} files "
            f"({summary.num_duplicates:,} duplicates, {summary.num_rejects:,} unusable)",
            **_folders(summary),
            "keys": _keys(summary),
            "size": sizes,
            "disk": f"{_bytes(summary.bytes_missing)} to write to {_name(summary.out)}, "
            f"{_bytes(summary.bytes_free)} free",
            "time": f"about {_duration(summary.seconds)} on {summary.device} "
            f"({stages}; slowest: {summary.slowest_stage})",
        }
    )


def build_text(result: "BuildResult") -> str:
    """How a build ended: what is in the store, how true the codec is, where the time went."""
    manifest = result.manifest
    if manifest is None:
        return (
            f"stopped: {result.num_shards_built} shards written, {result.num_shards_pending} to go; "
            "run the same command again, it resumes"
        )
    if result.num_shards_built == 0:
        return f"{_name(str(result.root))} is already complete: {_records(result, manifest)}"
    rate = result.num_images_built / result.seconds
    busy = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in result.busy_seconds.items())
    cosine = manifest.cosine
    rejects = f" ({manifest.num_rejects:,} unusable, see rejects.jsonl)" if manifest.num_rejects else ""
    return _table(
        {
            "store": _name(str(result.root)),
            "images": f"{_records(result, manifest)}{rejects}",
            "size": f"{_bytes(result.planned.plan.total_bytes)} as {manifest.spec.codec}",
            "cosine": f"mean (kappa) {manifest.kappa:.6f}, 0.1-percentile {cosine.p001:.6f}, worst {cosine.worst:.6f}",
            "time": f"{_duration(result.seconds)}, {rate:.1f} {_unit(manifest)}/s; busy: {busy}",
        }
    )


def info_text(info: dict[str, Any]) -> str:
    """A store's description and its fingerprint."""
    fingerprint = info["fingerprint"]
    state = "finished" if info["finished"] else f"unfinished, {info['num_shards_pending']} shards to go"
    views = f" in {info['num_rows']:,} views" if "tiles" in fingerprint else ""
    records = "" if info["num_records"] is None else f", {info['num_records']:,} records"
    lines = {"store": f"{_name(info['path'])} ({info['store']}, {state})"}
    if set(TEACHER) <= fingerprint.keys():  # a store can be made without us
        lines["teacher"] = _teacher(*(fingerprint[name] for name in TEACHER))
    lines |= {
        "images": f"{info['num_images']:,}{views}{records} in {info['num_shards']:,} shards",
        "record": f"{info['grid'][0]}x{info['grid'][1]}x{info['dim']} {info['codec']}",
        "size": _bytes(info["bytes"]),
    }
    if info["num_parts"] or info["unfinished_part"]:
        lines["appended"] = f"{info['num_parts']} parts{_unfinished(info['unfinished_part'])}"
    if info["cosine"]:
        lines["cosine"] = "mean (kappa) {mean:.6f}, 0.1-percentile {p001:.6f}, worst {worst:.6f}".format(
            **info["cosine"]
        )
    lines |= {f"  {name}": str(value) for name, value in fingerprint.items()}
    return _table(lines)


def verify_text(report: "VerifyReport", recomputed: "RecomputeReport | None", *, repaired: bool) -> str:
    """What is damaged, or that nothing is."""
    lines = [_name(problem) for problem in report.problems[:MAX_LINES]]
    if len(report.problems) > MAX_LINES:
        lines.append(f"... and {len(report.problems) - MAX_LINES} more")
    if report.bad_shards:
        lines.append(f"bad shards: {', '.join(map(str, report.bad_shards))}")
    if report.doomed and repaired:
        lines.append(f"damaged files were dropped; run the same {_makers(report)} again to make them anew")
    elif report.doomed:
        lines.append(
            f"`viral cache verify --repair` drops what is damaged, so that {_makers(report)} makes it anew"
        )
    elif report.ok:
        lines.append(
            f"sound: {report.num_images:,} rows in {report.num_shards:,} shards, "
            f"{_bytes(report.bytes_read)} read{_unfinished(report.unfinished_part)}"
        )
    if recomputed:
        lines += [f"{_name(path)}: its features point elsewhere" for path in recomputed.wrong]
        lines.append(f"recomputed {recomputed.num_images} records: worst cosine {recomputed.worst:.6f}")
    return "\n".join(lines)


def _makers(report: "VerifyReport") -> str:
    """The commands that make the damaged files."""
    in_parts = {name.startswith(f"{PARTS}/") for name in report.doomed}
    return " and ".join(f"`viral cache {'append' if part else 'build'}`" for part in sorted(in_parts))


def _unfinished(part: str | None) -> str:
    if part is None:
        return ""
    return f"; {part} is unfinished and not counted, the `viral cache append` that makes it resumes it"


def _sources(summary: "PlanSummary") -> dict[str, str]:
    """A line for each annotation file, if there are several or ids repeat."""
    if len(summary.sources) == 1 and not summary.sources[0].num_repeated_ids:
        return {}
    return {
        f"  {_name(source.name)}": f"{source.num_entries:,} entries, {source.num_text_only:,} text only, "
        f"{source.num_images:,} images ({source.num_new_images:,} in no file above), "
        f"{source.num_repeated_ids:,} repeated ids"
        for source in summary.sources
    }


def _folders(summary: "PlanSummary") -> dict[str, str]:
    """A line for each part of the data, if it has parts."""
    lines = {
        f"  {_name(folder)}": f"{count:,} files, {summary.rejects_by_folder.get(folder, 0):,} unusable"
        for folder, count in list(summary.images_by_folder.items())[:MAX_LINES]
    }
    if len(summary.images_by_folder) > MAX_LINES:
        lines["  ..."] = f"and {len(summary.images_by_folder) - MAX_LINES:,} more folders"
    return lines


def _views(summary: "PlanSummary") -> str:
    """How many records tiled images have."""
    return f", {summary.num_records:,} views," if summary.num_records != summary.num_images else ""


def _records(result: "BuildResult", manifest: "Manifest") -> str:
    """Records, and of how many images they are where that is another number."""
    if _unit(manifest) == "images":
        return f"{manifest.num_records:,} records"
    return f"{manifest.num_records:,} records, one for each view of {result.planned.num_images:,}"


def _unit(manifest: "Manifest") -> str:
    """What a record is of."""
    return "views" if "tiles" in manifest.spec.fingerprint else "images"


def _keys(summary: "PlanSummary") -> str:
    if summary.keys == "sha256":
        return f"content of the files; {summary.num_files_read:,} had to be read"
    return f"{summary.keys}: nothing was read; equal files stay apart, a changed file of the same size goes unnoticed"


def _teacher(name: str, weights: str, profile: str, scramble_seed: int | None) -> str:
    scrambled = "" if scramble_seed is None else f", linear layers SCRAMBLED with seed {scramble_seed}"
    randomness = ", RANDOM weights" if weights == "random" else ""
    return f"{name}, profile {profile}{randomness}{scrambled}"


def _table(lines: dict[str, str]) -> str:
    width = max(map(len, lines))
    return "\n".join(f"{name:{width}}  {value}" for name, value in lines.items())


def _name(text: str) -> str:
    """A name as one printable line: file names may hold line breaks, and bytes that are no text."""
    return text if text.isprintable() else repr(text)


def _bytes(count: int) -> str:
    from stores.space import format_bytes

    return format_bytes(count)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
