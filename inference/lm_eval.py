"""Trained models in EleutherAI's lm-evaluation-harness (`pip install 'eutectic[lm_eval]'`):

    python -m eutectic.inference.lm_eval run --model eutectic --model_args checkpoint=results/quick/runs/RUN ...

which is its own command line, for that imports no other package's models. As in training, a text begins with a
separator, and no token is scored after more than `max_length` others.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lm_eval.models  # noqa: F401 - once there is a model of ours the harness would not look for its own
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from eutectic.errors import UserError
from eutectic.inference.generate import Limits, continue_tokens
from eutectic.inference.load import load
from eutectic.inference.sample import Sampling
from eutectic.inference.score import likelihoods
from eutectic.train.compiled import keep_compiled
from eutectic.train.shards import default_cache

UNKNOWN_LENGTH = 2048  # of a model that is no run's
MOST_TOKENS = 256  # that are written where a task does not say


@register_model("eutectic")
class Eutectic(TemplateLM):
    """checkpoint: as `eutectic generate` takes it. max_length: by default what the run was trained with. batch_size:
    texts that are written at once; what is scored at once follows from its length."""

    def __init__(
        self,
        checkpoint: str,
        device: str | None = None,
        max_length: int | None = None,
        batch_size: int | str = 8,
        max_batch_size: int | None = None,
    ):
        super().__init__()
        trained = load(Path(checkpoint), default_cache())
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        dtype = torch.bfloat16 if self._device.type == "cuda" else torch.float32
        if self._device.type == "cuda":
            keep_compiled(default_cache())
        self.model, self.words = trained.model.to(self._device, dtype).eval(), trained.tokenizer
        self.max_length = max_length or (trained.run.data.seq_len if trained.run else UNKNOWN_LENGTH)
        self.rows = int(batch_size) if str(batch_size).isdecimal() else 8

    @property
    def eot_token_id(self) -> int:
        return self.words.separator

    @property
    def prefix_token_id(self) -> int:
        return self.words.begin

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        ids: list[int] = self.words.encode([string])[0].tolist()
        return ids if add_special_tokens is False else [self.words.begin, *ids]

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], disable_tqdm: bool = False, **kwargs: Any
    ) -> list[tuple[float, bool]]:
        pairs = [(context[-self._room(continuation) :], continuation) for _, context, continuation in requests]
        return [(found.nats, found.greedy) for found in likelihoods(self.model, pairs)]

    def _room(self, continuation: list[int]) -> int:
        """Tokens before a continuation, whose last is scored after max_length others at most."""
        return max(1, self.max_length + 1 - len(continuation))

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        totals = []
        for request in requests:
            ids = self.tok_encode(request.args[0], add_special_tokens=False)
            windows = get_rolling_token_windows(ids, self.prefix_token_id, self.max_length, context_len=1)
            totals.append(sum(one.nats for one in likelihoods(self.model, list(map(make_disjoint_window, windows)))))
        return totals

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Of a context the last max_length tokens are read, whatever is written after them."""
        alike: dict[str, list[int]] = {}
        for index, request in enumerate(requests):
            alike.setdefault(json.dumps(request.args[1], sort_keys=True), []).append(index)
        found: dict[int, str] = {}
        for how, members in alike.items():
            wish = normalize_gen_kwargs(json.loads(how), MOST_TOKENS)
            limits = Limits(wish["max_gen_toks"], tuple(wish["until"]))
            sampling = Sampling(wish.get("temperature", 0.0), wish.get("top_k", 0), wish.get("top_p", 1.0))
            prompts = [self.tok_encode(requests[index].args[0])[-self.max_length :] for index in members]
            texts = continue_tokens(self.model, self.words, prompts, limits, sampling, self.rows)
            found |= {index: text.text for index, text in zip(members, texts, strict=True)}
        return [found[index] for index in range(len(requests))]


def main() -> int:
    from lm_eval.__main__ import cli_evaluate

    try:
        cli_evaluate()
    except UserError as error:
        print(f"eutectic: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
