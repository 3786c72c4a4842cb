"""Requests as `viral reproduce` makes them, in a folder of their own."""

from pathlib import Path

import pytest

from pipelines.reproduce.graph import Request
from pipelines.reproduce.request import make_request


@pytest.fixture
def request_of(tmp_path: Path):
    def make(target: str, scale: str = "micro", **options) -> Request:
        defaults = {
            "root": tmp_path / "root",
            "playground": tmp_path / "playground",
            "seeds": 1,
            "profile": None,
            "with_release": False,
            "only": [],
            "local": [],
            "settings": [],
        }
        return make_request(target, scale=scale, **(defaults | options))

    return make
