"""Grow a store: which images of a plan it does not know yet. They become a part of their own (`stores.parts`)."""

from dataclasses import asdict, replace
from pathlib import Path

from stores.errors import FingerprintError, NothingToAppendError
from stores.layout import PLAN
from stores.manifest import load_manifest
from stores.parts import all_parts
from stores.plan import Plan, load_plan
from stores.spec import differences


def new_images(root: Path, part: Path, plan: Plan) -> Plan:
    """The plan of `part`: what is in `plan`, but neither in the store `root` nor in another of its parts.

    The same images give the same part again, so that an interrupted append is resumed by repeating it, and a
    finished one has nothing left to do.

    Raises:
        StoreError: `root` is not a finished store.
        FingerprintError: `plan` is of another teacher, codec, grid ...; names the fields.
        NothingToAppendError: the store has all of these images.
    """
    base = load_manifest(root).spec
    fields = differences(asdict(plan.spec), asdict(base))
    if fields:
        raise FingerprintError(
            f"What is appended to {root} must be made as it was made: {'; '.join(fields)}. "
            "Use what built it, or build another store."
        )
    others = [root, *(folder for folder in all_parts(root) if folder != part and (folder / PLAN).is_file())]
    plans = [load_plan(folder) for folder in others]
    known = {key for other in plans for key in other.keys}
    missing = {reject for other in plans for reject in other.rejects}
    kept = [(key, path) for key, path in zip(plan.keys, plan.paths, strict=True) if key not in known]
    if not kept:
        raise NothingToAppendError(f"{root} has all of these {len(plan.keys)} images; nothing was written.")
    return replace(
        plan,
        keys=tuple(key for key, _ in kept),
        paths=tuple(path for _, path in kept),
        rejects=tuple(reject for reject in plan.rejects if reject not in missing),
    )
