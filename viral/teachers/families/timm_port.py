"""timm's ports of models whose authors resample position embeddings in one way, whatever the profile."""

from importlib import import_module

from torch import nn

from viral.teachers.families.family import State
from viral.teachers.families.timm_vit import TimmVit
from viral.teachers.profiles import Profile
from viral.teachers.spec import TeacherSpec


class TimmPort(TimmVit):
    """A timm model; a subclass says how a grid is resampled, and which other layouts of its checkpoint there are."""

    knobs = ()
    interpolation = "bicubic"
    antialias = True

    def convert(self, state: State, backbone: nn.Module, spec: TeacherSpec, profile: Profile) -> State:
        """Through the filter of the model's module, which knows timm's names and mostly the authors'."""
        convert = import_module(type(backbone).__module__).checkpoint_filter_fn
        converted: State = convert(
            dict(state), backbone, interpolation=self.interpolation, antialias=self.antialias
        )
        return converted
