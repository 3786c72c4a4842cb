"""What a run has trained inside the MLLM, as files: PEFT's adapter (with the projector), or the projector alone.

<checkpoint>/adapter/adapter_model.safetensors    of a run with LoRA
<checkpoint>/image_newline.safetensors            beside it, if the model sees tiles
<checkpoint>/projector.safetensors                of a run without: stage one
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from viral.errors import WeightsError, one_line
from viral.mllm.lora import PROJECTOR, quiet_peft
from viral.mllm.projector import PROJECTOR_FILE, load_projector
from viral.mllm.student import Student
from viral.mllm.tiling import NEWLINE
from viral.tensors import load_exactly, read_tensors

ADAPTER_FILE, NEWLINE_FILE = "adapter/adapter_model.safetensors", f"{NEWLINE}.safetensors"

Tensors = Mapping[str, torch.Tensor]


def trained_parts(mllm: Any, tensors: Tensors) -> dict[str, dict[str, torch.Tensor]]:  # noqa: ANN401 - PEFT or not
    """The MLLM's trained tensors, given by parameter name, as they are filed: by file and by name in it."""
    from peft import PeftModel, get_peft_model_state_dict

    if isinstance(mllm, PeftModel):
        named = get_peft_model_state_dict(mllm, state_dict=dict(tensors), save_embedding_layers=False)
        newline = [tensor for name, tensor in tensors.items() if name.endswith(f".{NEWLINE}")]
        return {ADAPTER_FILE: named} | ({NEWLINE_FILE: {NEWLINE: newline[0]}} if newline else {})
    return {PROJECTOR_FILE: {name.partition(f"{PROJECTOR}.")[2]: tensor for name, tensor in tensors.items()}}


def describe_adapter(mllm: Any, folder: Path) -> None:  # noqa: ANN401
    """Write PEFT's own `adapter_config.json` beside the adapter, if there is one."""
    from peft import PeftModel

    if isinstance(mllm, PeftModel):
        for adapter in mllm.peft_config.values():
            adapter.save_pretrained(str((folder / ADAPTER_FILE).parent))


def merge_trained(student: Student, folder: Path) -> None:
    """Put what a run has trained into its base: W <- W + (alpha / r) B A, the trained projector and newline.

    Raises:
        WeightsError: nothing there, or made for another base.
    """
    from peft import PeftModel, get_peft_model_state_dict

    file = folder / ADAPTER_FILE
    if (folder / PROJECTOR_FILE).is_file():
        load_projector(student.model.model.multi_modal_projector, str(folder / PROJECTOR_FILE))
        return
    found = read_tensors(file)
    try:
        with quiet_peft():
            adapted = PeftModel.from_pretrained(student.model, str(file.parent))
    except (OSError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"The adapter in {file.parent} does not load onto this base: {one_line(error)}."
        ) from error
    expected = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    if odd := sorted(found.keys() ^ expected.keys()):  # PEFT itself only warns
        raise WeightsError(
            f"The adapter in {file.parent} is not of this base: {len(odd)} tensors differ, first {odd[0]}."
        )
    student.model = adapted.merge_and_unload()
    if student.image.tiling:
        newline = read_tensors(folder / NEWLINE_FILE)
        learnt = torch.nn.ParameterDict({NEWLINE: student.model.model.image_newline})
        load_exactly(learnt, newline, str(folder), "the token that ends a row of this model's tiles")
