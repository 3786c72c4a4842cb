"""Backends that answer questions: the software that runs a model. A new one: one file, one entry."""

from pipelines.answering.backend import Answer, Backend
from pipelines.answering.transformers import TRANSFORMERS
from pipelines.answering.vllm import VLLM
from viral.errors import UnknownNameError

__all__ = ["BACKENDS", "Answer", "Backend", "get_backend"]

BACKENDS = {backend.name: backend for backend in (TRANSFORMERS, VLLM)}


def get_backend(name: str) -> Backend:
    """Look a backend up by name, which is that of its package.

    Raises:
        UnknownNameError: no such backend.
    """
    if name not in BACKENDS:
        raise UnknownNameError("backend", name, list(BACKENDS))
    return BACKENDS[name]
