"""Fixtures shared by all tests: a tiny real LLaVA folder, and one thread per test process."""

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is first imported, here and in subprocesses

import pytest
import torch

from tests import tiny

LONGEST = (
    "test_the_offline_walk_runs_as_written",
    "test_demo_runs_resumes_and_leaves_the_teacher_alone",
)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _annotation_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["VIRAL_ANNOTATION_CACHE"] = str(tmp_path_factory.mktemp("annotations"))


@pytest.fixture(scope="session")
def llava_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_llava(tmp_path_factory.mktemp("llava"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest ones first, so that no core waits for them at the end."""
    items.sort(key=lambda item: item.name not in LONGEST)
