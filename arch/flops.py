"""Parameters and FLOPs of a model by part, counted from the real modules on torch's meta device.

Conventions (forward; training is three times that): `exact-causal` counts every matmul and convolution, the head
included, causal attention halved, the embedding look-up free; `exact-full` does not halve attention; `6nd` is 6 times
the parameters that act on a token, of which forward is a third, and `6nd-nonembedding` leaves the embedding out.
"""

import functools
from dataclasses import dataclass

from eutectic.arch.base import StateSize
from eutectic.arch.model import blank
from eutectic.config import ModelConfig

CONVENTIONS = ("exact-causal", "exact-full", "6nd", "6nd-nonembedding")


@dataclass(frozen=True)
class Counts:
    """Parameters by group, forward FLOPs over one sequence by term, and what its decoding state holds.

    params_active: those that act on one token. state: numbers in the model's dtype, and in float32.
    """

    params: int
    params_embedding: int
    params_mixer: int
    params_channel: int
    params_norm: int
    params_active: int
    projection: int
    core: int
    core_full: int
    channel: int
    head: int
    matmul: int
    state: StateSize

    def training_flops(self, convention: str, length: int) -> int:
        """FLOPs of forward and backward over one training sequence."""
        dense = self.projection + self.channel + self.head
        return {
            "exact-causal": 3 * (dense + self.core),
            "exact-full": 3 * (dense + self.core_full),
            "6nd": 6 * length * self.params_active,
            "6nd-nonembedding": 6 * length * (self.params_active - self.params_embedding),
        }[convention]


@functools.lru_cache(maxsize=4096)
def count(model: ModelConfig, length: int, conv_algorithm: str = "chunked") -> Counts:
    """Counts of a model over sequences of this length; convolutions charged by the named algorithm."""
    net = blank(model)
    blocks = net.layers()
    mixers = [block.mixer.flops(length, conv_algorithm) for block in blocks]
    channel = sum(block.channel.flops(length) for block in blocks)
    head = 2 * length * net.head_weight().numel()
    params = sum(p.numel() for p in net.parameters())
    embedding = net.embedding.weight.numel()
    mixer_params = sum(p.numel() for block in blocks for p in block.mixer.parameters())
    channel_params = sum(p.numel() for block in blocks for p in block.channel.parameters())
    head_params = 0 if model.tied else net.head_weight().numel()
    idle = channel_params - sum(block.channel.active_params() for block in blocks)
    return Counts(
        params=params,
        params_embedding=embedding + head_params,
        params_mixer=mixer_params,
        params_channel=channel_params,
        params_norm=params - embedding - head_params - mixer_params - channel_params,
        params_active=params - idle,
        projection=sum(m.projection for m in mixers),
        core=sum(m.core for m in mixers),
        core_full=sum(m.core_full for m in mixers),
        channel=channel,
        head=head,
        matmul=sum(m.matmul for m in mixers) + channel + head,
        state=net.state_size(length),
    )
