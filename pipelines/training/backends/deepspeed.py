"""DeepSpeed: ZeRO-0 (nothing sharded), ZeRO-2 (optimizer state and gradients), ZeRO-3 (frozen weights too).

Its own checkpoints, schedules, optimizers and precision settings stay unused: what a step computes is the
same on every backend, and so is what a run writes.
"""

import logging
import os
from collections.abc import Iterator
from typing import Any

import torch

from pipelines.training.backends.single import SingleBackend
from pipelines.training.config import TrainConfig
from pipelines.training.optim import kept, trainable
from viral.mllm.aligned import AlignedMllm, Argument, Losses

BUCKET = 50_000_000
"""Numbers that travel together; 200 MB of fp32."""


def zero_config(config: TrainConfig, world_size: int, *, on_gpu: bool) -> dict[str, Any]:
    """DeepSpeed's JSON for a run; none is written by hand.

    Neither `bf16` nor `torch_autocast` is on: trainables and their AdamW are fp32, and the module casts by itself.
    """
    data = config.data
    zero: dict[str, Any] = {"stage": config.zero_stage, "overlap_comm": on_gpu and config.zero_stage == 3}
    if config.zero_stage:
        zero |= {"reduce_bucket_size": BUCKET, "allgather_bucket_size": BUCKET, "contiguous_gradients": True}
    return {
        "train_batch_size": data.batch_size,
        "train_micro_batch_size_per_gpu": data.micro_batch_size,
        "gradient_accumulation_steps": data.batch_size // (data.micro_batch_size * world_size),
        "managed_gradient_accumulation": False,  # `step` is called once a step, not once a micro-batch
        "gradient_clipping": config.optim.max_grad_norm or 0.0,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,  # torch's AdamW: no kernels to compile
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": None,
    }


class DeepSpeedBackend(SingleBackend):
    """A DeepSpeed engine around the module and torch's AdamW."""

    def __init__(self, module: AlignedMllm, optimizer: torch.optim.AdamW, config: TrainConfig) -> None:
        super().__init__(module, optimizer, config)
        device = next(module.parameters()).device
        settings = zero_config(config, torch.distributed.get_world_size(), on_gpu=device.type == "cuda")
        self._stage, self._adamw = config.zero_stage, optimizer
        for parent, name in _unevenly_used(module):
            _hide(parent, name)
        self._engine, self.optimizer, _, _ = _import_deepspeed(device).initialize(
            model=module, optimizer=optimizer, config=settings, dist_init_required=False
        )

    def forward(self, **batch: Argument) -> Losses:
        """Run the module inside the engine."""
        return self._engine(**batch)

    def backward(self, loss: torch.Tensor) -> None:
        """ZeRO-0 reduces in `step`; ZeRO-2 and 3 hold only their share of the gradients, so they reduce here."""
        self._engine.backward(loss, scale_wrt_gas=False)

    def step(self) -> None:
        """The engine averages, clips, updates and clears."""
        self._engine.step()

    def weights(self) -> dict[str, torch.Tensor]:
        """Trainables are fp32 like their masters, so the module's own tensors are exact once they are whole."""
        from deepspeed import zero

        whole = {}
        for name, tensor in kept(self.module).items():
            with zero.GatheredParameters([tensor], enabled=hasattr(tensor, "ds_id")):
                whole[name] = tensor.detach().cpu().clone()  # ZeRO-2's are views of one buffer
        return whole

    def moments(self) -> dict[str, torch.Tensor]:
        """Gathered parameter by parameter; the step counter is the same for all."""
        if self._stage == 0:
            return super().moments()
        from deepspeed.utils import safe_get_full_optimizer_state

        self._link()
        done = self._adamw.state[self._shards()[0]]["step"]
        found = {}
        for name, parameter in trainable(self.module).items():
            found[f"{name}.step"] = done.detach().cpu().clone()
            for moment in ("exp_avg", "exp_avg_sq"):
                found[f"{name}.{moment}"] = safe_get_full_optimizer_state(parameter, moment).cpu()
        return found

    def load_moments(self, moments: dict[str, torch.Tensor]) -> None:
        """Give AdamW the state its first step would make, shard by shard, then fill in this rank's part."""
        if self._stage == 0:
            return super().load_moments(moments)
        done = next(tensor for name, tensor in moments.items() if name.endswith(".step"))
        for shard in self._shards():
            self._adamw.state[shard] = {
                "step": done.clone(),
                "exp_avg": torch.zeros_like(shard),
                "exp_avg_sq": torch.zeros_like(shard),
            }
        self._link()
        for name, parameter in trainable(self.module).items():
            for moment in ("exp_avg", "exp_avg_sq"):
                _fill(parameter, moment, moments[f"{name}.{moment}"].to(parameter.device))
        return None

    def _link(self) -> None:
        """Have ZeRO-2 find each parameter's part of AdamW's state; by itself it does so when only one group has any."""
        if self._stage == 2:
            self.optimizer._hp_optimizer_states_linked = False
            self.optimizer._lazy_init_hp_params_optimizer_state()

    def _shards(self) -> list[torch.Tensor]:
        """This rank's flat fp32 masters: what AdamW updates instead of the parameters."""
        if self._stage == 2:
            return self.optimizer.single_partition_of_fp32_groups
        return self.optimizer.fp32_partitioned_groups_flat


def _unevenly_used(module: AlignedMllm) -> Iterator[tuple[torch.nn.Module, str]]:
    """Frozen children, by parent and name, that one rank may run more often than another, or not at all.

    The tower needs images, the LLM's head labels, in one part or several. Were their weights sharded, the ranks that
    run them would wait for the others to help gather them.
    """
    llm = module.core.language_model
    holder = next(part for part in module.mllm.modules() if "lm_head" in part._modules)
    if holder.lm_head.weight is llm.embed_tokens.weight:
        yield llm, "embed_tokens"
    yield holder, "lm_head"
    yield module.core, "vision_tower"


def _hide(parent: torch.nn.Module, name: str) -> None:
    """Make a child a plain attribute, so that DeepSpeed neither sees nor shards it."""
    parent.__dict__[name] = parent._modules.pop(name)


def _fill(parameter: Any, moment: str, whole: torch.Tensor) -> None:  # noqa: ANN401 - with DeepSpeed's attributes
    from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

    if not hasattr(parameter, "ds_id"):
        return safe_set_full_optimizer_state(parameter, whole, moment)
    # ZeRO-3 pads a parameter until it splits evenly; the setter of whole tensors forgets that.
    size = parameter.ds_tensor.numel()
    padded = torch.zeros(size * torch.distributed.get_world_size(), device=whole.device)
    padded[: whole.numel()] = whole.flatten()
    mine = padded.split(size)[torch.distributed.get_rank()]
    return safe_set_local_optimizer_state(parameter, mine, moment)


def _import_deepspeed(device: torch.device) -> Any:  # noqa: ANN401 - an untyped module
    """DeepSpeed, told where it runs, kept from compiling extensions and from chatting."""
    os.environ.setdefault("DS_ACCELERATOR", device.type)
    os.environ["LOCAL_RANK"] = str(device.index or 0)  # its only way to be told which GPU is this rank's
    import deepspeed

    # A faster gloo for one machine, which would call a C++ compiler on first use.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    deepspeed.init_distributed(auto_mpi_discovery=False, dist_init_required=False)
    return deepspeed
