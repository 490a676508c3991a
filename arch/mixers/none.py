"""No channel mixer: layers of sequence mixers alone, as in Mamba."""

from torch import Tensor

from eutectic.arch.base import Card, ChannelMixer, LayerShape


class NoChannelMixer(ChannelMixer):
    """A block that holds it skips its norm and its residual write."""

    card = Card(
        paper="Gu and Dao 2023, Mamba",
        equation="y = 0: the block is its sequence mixer alone",
        state="none",
        time="0",
        oracle="transformers MambaForCausalLM",
    )

    def __init__(self, shape: LayerShape):
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x

    def flops(self, length: int) -> int:
        return 0
