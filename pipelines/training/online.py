"""A term's teacher inside the training process, beside the model: for comparison, and for images seen once."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from pipelines.training.config import AlignConfig
from pipelines.training.targets import Decoder, refuse_resampling, resample
from viral.data.picture import Source, Square, Views
from viral.data.tiles import Tiling
from viral.mllm.student import Student
from viral.objectives import get_objective
from viral.teachers import get_teacher
from viral.teachers.load import load_teacher
from viral.teachers.teacher import Teacher


@dataclass(frozen=True, slots=True)
class OnlineTeacher:
    """A loaded teacher, outside the model: nothing that loads, shards or saves the model knows of it."""

    teacher: Teacher
    tiling: Tiling | None = None
    """The student's."""
    kappa: float = 1.0
    """No codec, hence nothing is lost."""

    @property
    def dim(self) -> int:
        """Channels of a target."""
        return self.teacher.spec.dim

    @property
    def record_bytes(self) -> int:
        """Of what travels from a loading process for one image: a square."""
        return 3 * self.teacher.square_size**2

    def source(self, keys: Mapping[str, str] | None = None) -> Source:
        """What the dataset makes of an image: the teacher's own square, or one of each of the student's views."""
        if self.tiling:
            return Views(self.tiling, self.teacher.square_size)
        return Square(self.teacher.square_size, self.teacher.square, self.teacher.fill)

    def decoder(self, device: torch.device, grid: tuple[int, int]) -> Decoder:
        """Squares [N, S, S, 3] on the device -> float32 targets [N, T, C], without gradient, on the student's grid."""

        def targets(squares_NSSC: torch.Tensor) -> torch.Tensor:
            return resample(self.teacher(squares_NSSC), self.teacher.grid, grid)

        return targets

    def describe(self) -> dict[str, Any]:
        """For the record of the run's inputs."""
        described: dict[str, Any] = json.loads(
            json.dumps(self.teacher.fingerprint())
        )  # as it will be read back
        return described


def online_weights(term: AlignConfig) -> str | None:
    """What `load_teacher` is to load for a term whose teacher runs along."""
    if isinstance(term.online, str):
        return term.online
    return "random" if term.weights == "random" else None


def load_online(term: AlignConfig, student: Student, image_mode: str) -> OnlineTeacher:
    """The teacher that this term (resolved) asks for, as stage one would load it, on the student's device and squares.

    Raises:
        ViralError: unusable weights, or targets that cannot be brought to the student's grid.
    """
    weights = online_weights(term)
    spec, device = get_teacher(term.teacher or ""), str(student.model.device)
    teacher = load_teacher(spec, weights, term.profile, device, square=image_mode)
    objective = get_objective(term.objective)
    if objective and objective.needs_lengths:
        refuse_resampling(term.teacher or "", term.objective, teacher.grid, student.image.grid)
    return OnlineTeacher(teacher, student.image.tiling)
