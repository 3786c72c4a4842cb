"""Every rank holds everything; gradients are averaged while the last micro-batch runs backward."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch.nn.parallel import DistributedDataParallel

from pipelines.training.backends.single import SingleBackend
from pipelines.training.config import TrainConfig
from viral.mllm.aligned import AlignedMllm, Argument, Losses


class DdpBackend(SingleBackend):
    """PyTorch's DistributedDataParallel: the default of several ranks.

    LoRA of a 7B model trains 355 M parameters, 5 GB with AdamW's state, so there is little to shard.
    """

    def __init__(self, module: AlignedMllm, optimizer: torch.optim.AdamW, config: TrainConfig) -> None:
        super().__init__(module, optimizer, config)
        # Every trainable takes part in every micro-batch, so nothing has to be searched for unused parameters.
        self._wrapped = DistributedDataParallel(
            module, forward_sync_buffers=False, gradient_as_bucket_view=True
        )

    def accumulate(self, *, last: bool) -> AbstractContextManager[None]:
        """No reduction before the last micro-batch."""
        return nullcontext() if last else self._wrapped.no_sync()

    def forward(self, **batch: Argument) -> Losses:
        """Run the module, ready to reduce."""
        return self._wrapped(**batch)
