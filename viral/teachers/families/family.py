"""What a family of teachers owes to the loader: a backbone, its checkpoint's layout, its tokens.

Shapes: B images, S square side in px, N patch tokens (row-major), D teacher width.
"""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from viral.data.images import CLIP_MEAN, mean_fill
from viral.teachers.profiles import Profile
from viral.teachers.spec import TeacherSpec

State = dict[str, Tensor]


class Family(ABC):
    """Stateless: everything about one teacher is in its spec, everything about one run in its profile."""

    library: str
    """Package the backbone comes from; its version goes into the fingerprint."""
    knobs: tuple[str, ...] = ()
    """Fields of `Profile`, beside those every teacher has, that change this family's features."""

    @abstractmethod
    def create(self, spec: TeacherSpec) -> nn.Module:
        """The architecture, on the current default device (`meta` when a checkpoint follows)."""

    @abstractmethod
    def convert(self, state: State, backbone: nn.Module, spec: TeacherSpec, profile: Profile) -> State:
        """A checkpoint in the layout of the backbone's `state_dict`; the loader then compares every name and shape.

        May raise what it pleases on a foreign checkpoint: the loader turns it into a WeightsError.
        """

    @abstractmethod
    def tokens(self, backbone: nn.Module, pixels_BCSS: Tensor, spec: TeacherSpec, profile: Profile) -> Tensor:
        """Normalised pixels [B, 3, S, S] in the backbone's dtype -> patch tokens [B, N, D]."""

    def complete(self, spec: TeacherSpec, weights: str | None) -> TeacherSpec:
        """The spec with what only the checkpoint `weights` knows."""
        return spec

    def load(self, spec: TeacherSpec, weights: str | None) -> nn.Module | None:
        """The backbone with its weights, from a family whose checkpoints are folders; None: the loader reads a file."""
        return None

    def fill(self, spec: TeacherSpec) -> tuple[int, int, int]:
        """Colour of the bars that make a picture square: that of the paper's student."""
        return mean_fill(CLIP_MEAN)

    def resolve(self, profile: Profile) -> Profile:
        """The profile with the knobs that this family cannot follow set to what it does."""
        return profile

    def trim(self, backbone: nn.Module, spec: TeacherSpec) -> nn.Module:
        """The loaded backbone without what no token needs."""
        return backbone

    def linears(self, backbone: nn.Module) -> list[nn.Module]:
        """Layers that are linear in the published code, which its loading overwrites."""
        return [module for module in backbone.modules() if isinstance(module, nn.Linear)]
