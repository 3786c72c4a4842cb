"""From the words of a command line to a request."""

from collections.abc import Sequence
from pathlib import Path

from pipelines.reproduce.graph import Request
from pipelines.reproduce.place import Place
from pipelines.reproduce.scales import get_scale
from pipelines.reproduce.targets import get_target
from pipelines.training.config import parse_overrides
from viral.benchmarks import get_profile
from viral.errors import ConfigError


def make_request(
    target: str,
    *,
    scale: str,
    root: Path | None,
    playground: Path,
    seeds: int,
    profile: str | None,
    with_release: bool,
    only: Sequence[str],
    local: Sequence[str],
    settings: Sequence[str],
) -> Request:
    """Look everything up and check it.

    Raises:
        UnknownNameError: no such target, scale, profile or row.
        ConfigError: a number, a setting or an `ID=PATH` that is none.
    """
    chosen = get_scale(scale)
    root = root or Path("reproduction") / chosen.name
    place = Place(
        root=root,
        world=root / "world" if chosen.draws_world else playground,
        home=chosen.home,
        local=dict(map(_pair, local)),
        machine=parse_overrides(list(settings)),
    )
    return Request(
        target=get_target(target),
        scale=chosen,
        place=place,
        profile=get_profile(profile or chosen.profile).name,
        seeds=seeds,
        with_release=with_release,
        only=tuple(only),
    )


def _pair(argument: str) -> tuple[str, str]:
    hub_id, equals, path = argument.partition("=")
    if not equals or not Path(path).exists():
        raise ConfigError(f"--local {argument}: expected a hub id, =, and a file or folder that is there.")
    return hub_id, path
