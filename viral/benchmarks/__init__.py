"""Benchmarks: what is asked, how a reply is read, what the scores mean. A new one: one file, one entry."""

from viral.benchmarks.base import PROFILES, Benchmark, Item, Profile, Verdict, get_profile, prompt, squash
from viral.benchmarks.cvbench import CVBENCH
from viral.benchmarks.files import load_items
from viral.benchmarks.mme import MME
from viral.benchmarks.mmstar import MMSTAR
from viral.benchmarks.mmvp import MMVP
from viral.benchmarks.pope import POPE
from viral.benchmarks.scoring import judge, read_replies, summarise
from viral.benchmarks.whatsup import WHATSUP
from viral.errors import UnknownNameError

__all__ = [
    "BENCHMARKS",
    "PROFILES",
    "Benchmark",
    "Item",
    "Profile",
    "Verdict",
    "get_benchmark",
    "get_profile",
    "judge",
    "load_items",
    "prompt",
    "read_replies",
    "summarise",
]

BENCHMARKS = {benchmark.name: benchmark for benchmark in (CVBENCH, MMVP, WHATSUP, POPE, MMSTAR, MME)}
"""In the order of the paper's columns."""

_SPELLINGS = {
    squash(spelling): benchmark
    for benchmark in BENCHMARKS.values()
    for spelling in (benchmark.name, benchmark.folder, benchmark.title, *benchmark.spellings)
}


def get_benchmark(name: str) -> Benchmark:
    """Look a benchmark up by name, in any spelling: `cvbench`, `CV-Bench 2D`, `whats_up`.

    Raises:
        UnknownNameError: no such benchmark.
    """
    if (benchmark := _SPELLINGS.get(squash(name))) is None:
        raise UnknownNameError("benchmark", name, list(BENCHMARKS))
    return benchmark
