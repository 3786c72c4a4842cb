"""Benchmarks: what is asked, how a reply is read, what the scores mean. A new one: one file, one entry."""

from viral.benchmarks.base import PROFILES, Benchmark, Item, Profile, Verdict, get_profile, prompt
from viral.benchmarks.cvbench import CVBENCH
from viral.benchmarks.files import load_items
from viral.benchmarks.pope import POPE
from viral.benchmarks.scoring import judge, read_replies, summarise
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

BENCHMARKS = {benchmark.name: benchmark for benchmark in (CVBENCH, POPE)}


def get_benchmark(name: str) -> Benchmark:
    """Look a benchmark up by name.

    Raises:
        UnknownNameError: no such benchmark.
    """
    if name not in BENCHMARKS:
        raise UnknownNameError("benchmark", name, list(BENCHMARKS))
    return BENCHMARKS[name]
