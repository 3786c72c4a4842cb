"""What a run has trained inside the MLLM, as files: PEFT's adapter (with the projector), or the projector alone.

<checkpoint>/adapter/adapter_model.safetensors    of a run with LoRA
<checkpoint>/projector.safetensors                of a run without: stage one
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from viral.errors import WeightsError, one_line
from viral.mllm.lora import quiet_peft
from viral.mllm.projector import PROJECTOR_FILE, load_projector, save_projector
from viral.mllm.student import Student
from viral.tensors import read_tensors

if TYPE_CHECKING:
    from peft import PeftModel

ADAPTER = "adapter"


def save_trained(mllm: Any, folder: Path) -> None:  # noqa: ANN401 - a LLaVA, with PEFT around it or not
    """Write the adapter or the projector below `folder`."""
    if _has_adapter(mllm):
        mllm.save_pretrained(folder / ADAPTER, save_embedding_layers=False)
    else:
        save_projector(_projector(mllm), folder / PROJECTOR_FILE)


def load_trained(mllm: Any, folder: Path) -> None:  # noqa: ANN401
    """Restore exactly what `save_trained` wrote.

    Raises:
        WeightsError: damaged, or of another kind of run or base.
    """
    from peft import set_peft_model_state_dict

    if not _has_adapter(mllm):
        load_projector(_projector(mllm), str(folder / PROJECTOR_FILE))
        return
    state = read_tensors(folder / ADAPTER / "adapter_model.safetensors")
    set_peft_model_state_dict(mllm, _of_this_base(state, mllm, folder / ADAPTER))


def merge_trained(student: Student, folder: Path) -> None:
    """Put what a run has trained into its base: W <- W + (alpha / r) B A, and the trained projector.

    Raises:
        WeightsError: nothing there, or made for another base.
    """
    from peft import PeftModel

    adapter = folder / ADAPTER
    if not adapter.is_dir():
        load_projector(_projector(student.model), str(folder / PROJECTOR_FILE))
        return
    state = read_tensors(adapter / "adapter_model.safetensors")
    try:
        with quiet_peft():
            adapted = PeftModel.from_pretrained(student.model, str(adapter))
    except (OSError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"The adapter in {adapter} does not load onto this base: {one_line(error)}."
        ) from error
    _of_this_base(state, adapted, adapter)  # PEFT itself only warns
    student.model = adapted.merge_and_unload()


def _of_this_base(state: dict[str, Any], adapted: "PeftModel", adapter: Path) -> dict[str, Any]:
    from peft import get_peft_model_state_dict

    wanted = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    shapes = [
        {(name, tuple(tensor.shape)) for name, tensor in tensors.items()} for tensors in (state, wanted)
    ]
    if odd := sorted(shapes[0] ^ shapes[1]):
        name, shape = odd[0]
        raise WeightsError(
            f"The adapter in {adapter} is not of this base: {len(odd)} tensors differ, first {name} {list(shape)}."
        )
    return state


def _has_adapter(mllm: Any) -> bool:  # noqa: ANN401
    from peft import PeftModel

    return isinstance(mllm, PeftModel)


def _projector(mllm: Any) -> nn.Module:  # noqa: ANN401
    return mllm.model.multi_modal_projector
