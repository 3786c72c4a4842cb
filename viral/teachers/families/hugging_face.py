"""Vision models of transformers, built from a config written out in the spec."""

from typing import cast

from torch import Tensor, nn

from viral.teachers.families.family import Family, State
from viral.teachers.profiles import Profile
from viral.teachers.spec import TeacherSpec


class HuggingFace(Family):
    """`architecture` is a class of transformers, `kwargs` the fields of its config.

    Any number of tokens may stand before the patches, none behind them.
    """

    library = "transformers"

    def create(self, spec: TeacherSpec) -> nn.Module:
        """The class, from its config: nothing is asked from the hub."""
        import transformers

        model_class = getattr(transformers, spec.architecture)
        return cast("nn.Module", model_class(model_class.config_class(**spec.kwargs)))

    def convert(self, state: State, backbone: nn.Module, spec: TeacherSpec, profile: Profile) -> State:
        """A checkpoint has the model's own names."""
        return state

    def tokens(self, backbone: nn.Module, pixels_BCSS: Tensor, spec: TeacherSpec, profile: Profile) -> Tensor:
        """The last hidden state, as the class gives it, or an inner one; grids become rows of tokens."""
        inner = spec.layer != -1 or not spec.norm
        output = backbone(pixel_values=pixels_BCSS, output_hidden_states=inner)
        tokens: Tensor = output.hidden_states[spec.layer] if inner else output.last_hidden_state
        if tokens.ndim == 4:
            tokens = tokens.flatten(2).transpose(1, 2)
        rows, columns = spec.grid
        return tokens[:, -rows * columns :]
