"""A mixture of SwiGLU experts, of which each token takes its top k (Shazeer et al. 2017; Jiang et al. 2024, Mixtral).

Tokens are sorted by expert, so that nothing is computed that no token asked for, and none is dropped.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eutectic.arch.base import Card, ChannelMixer, LayerShape
from eutectic.arch.layers import linear, wide, working_dtype
from eutectic.errors import UserError
from eutectic.kernels.plain import grouped_matmul


class MoE(ChannelMixer):
    """sum of p_i SwiGLU_i(x) over the top_k largest p = softmax(W_r x), each expert d_ffn / top_k wide.

    So a token meets the parameters of a dense SwiGLU, and the router's. norm_topk_prob: the chosen p are divided by
    their sum (Mixtral, 2.1), not taken as they are (Switch Transformer, eq. 2). balance, z: weights of the two losses.
    """

    card = Card(
        paper="Shazeer et al. 2017; Fedus et al. 2022, Switch Transformer; Jiang et al. 2024, Mixtral",
        equation="sum_{i in top k of p} p_i / sum_top p * SwiGLU_i(x), p = softmax(W_r x)",
        state="none",
        time="L",
        oracle="transformers MixtralSparseMoeBlock",
    )

    def __init__(
        self,
        shape: LayerShape,
        *,
        experts: int = 8,
        top_k: int = 2,
        norm_topk_prob: bool = True,
        balance: float = 0.01,
        z: float = 0.001,
    ):
        super().__init__()
        if not 1 <= top_k <= experts:
            raise UserError(f"moe cannot choose top_k={top_k} of experts={experts}; give 1 to {experts}.")
        if top_k == 1 and norm_topk_prob:
            raise UserError(
                "moe with top_k=1 weighs its expert by 1, which trains no router; add norm_topk_prob=false."
            )
        self.experts, self.top_k, self.norm_topk_prob = experts, top_k, norm_topk_prob
        self.balance, self.z = balance, z
        width = max(1, shape.d_ffn // top_k)
        self.router = linear(shape.d_model, experts)
        self.up = nn.Parameter(torch.randn(experts, 2 * width, shape.d_model) * shape.d_model**-0.5)
        self.down = nn.Parameter(torch.randn(experts, shape.d_model, width) * shape.out_scale * width**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(0, -2)
        logits = self._router_logits(tokens)
        probabilities = logits.softmax(-1)
        weights, chosen = probabilities.topk(self.top_k)
        if self.norm_topk_prob:
            weights = weights / weights.sum(-1, keepdim=True)
        counts = (chosen.flatten() == torch.arange(self.experts, device=x.device)[:, None]).sum(1)
        self.penalty = self._penalty(logits, probabilities, counts) if self.training else None
        y = self._experts(tokens, chosen, counts)
        return (weights[..., None].to(y.dtype) * y).sum(1).view_as(x)

    def _router_logits(self, tokens: Tensor) -> Tensor:
        """In float32 even under autocast: rounding here would send tokens elsewhere (Switch Transformer, 2.4)."""
        with torch.autocast(tokens.device.type, enabled=False):
            return F.linear(wide(tokens), wide(self.router.weight))

    def _experts(self, tokens: Tensor, chosen: Tensor, counts: Tensor) -> Tensor:
        """What each token's chosen experts make of it, (tokens, top_k, d_model)."""
        order = chosen.flatten().argsort(stable=True)
        rows, up, down = (t.to(working_dtype(tokens)) for t in (tokens, self.up, self.down))
        rows = rows.repeat_interleave(self.top_k, 0)[order]
        gate, rows = grouped_matmul(rows, up.mT, counts).chunk(2, -1)
        y = grouped_matmul(F.silu(gate) * rows, down.mT, counts)
        return y[order.argsort()].unflatten(0, (-1, self.top_k))

    def _penalty(self, logits: Tensor, probabilities: Tensor, counts: Tensor) -> Tensor:
        """Both auxiliary losses, weighted.

        Balance: experts * sum_i f_i P_i, f_i the share of choices that fell on expert i, P_i its mean probability; 1
        where all are equal (Switch Transformer, eq. 4 to 6). z: mean of logsumexp(logits)^2 (ST-MoE, Zoph et al. 2022,
        eq. 5).
        """
        share = counts / counts.sum()
        balance = self.experts * (share * probabilities.mean(0)).sum()
        return self.balance * balance + self.z * logits.logsumexp(-1).square().mean()

    def flops(self, length: int) -> int:
        """The router's, and top_k experts' for each token."""
        return 2 * length * self.active_params()

    def active_params(self) -> int:
        """The router and top_k experts."""
        return self.router.weight.numel() + self.top_k * (self.up[0].numel() + self.down[0].numel())
