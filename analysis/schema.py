"""The columns of the logs, `runs` (a row per run) and `curves` (a row per logged step), and of what is measured of
trained models: `sensitivity` (a row per layer replaced alone), `context` (per document and context), `filters` (per
lag), `poles` (per mode), `distill` (per layer) and `prune` (per number of modes); and of synthetic tasks `trials` (per
model), `ablation` (per layer) and `losses` (per architecture and budget of a sweep that scores were held against).

The parquet files carry these docs in their field metadata, and results/SCHEMA.md is generated from here.
"""

import functools
from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class Column:
    name: str
    type: pa.DataType
    unit: str
    doc: str


def _column(name: str, kind: str, unit: str, doc: str) -> Column:
    types = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
    return Column(name, types[kind], unit, doc)


RUNS = (
    _column("run_id", "str", "", "hash of everything that determines the loss"),
    _column("status", "str", "", "done, diverged, or pruned: given up for what others of its study came to"),
    _column("recipe", "str", "", "name of the recipe the plan was made with"),
    _column("arch", "str", "", "layout of sequence mixers, e.g. hyena*3+attn"),
    _column("layers", "str", "", "the realized stack of sequence mixers, from the first layer to the last"),
    _column("channel", "str", "", "layout of channel mixers, e.g. swiglu"),
    _column("attn_share", "float", "", "realized share of full attention among the sequence mixers"),
    _column(
        "mixers", "str", "", "mixers from elsewhere: their names, with the hash of the file or the package's version"
    ),
    _column("match", "str", "", "what a rung's architectures have in common: width, params or flops"),
    _column("budget", "float", "FLOPs", "compute asked for"),
    _column(
        "flops",
        "float",
        "FLOPs",
        "compute realized over all training tokens, forward and backward, by `convention`",
    ),
    _column("convention", "str", "", "how `flops` counts: exact-causal, exact-full, 6nd or 6nd-nonembedding"),
    _column("conv_algorithm", "str", "", "algorithm convolutions are charged by: recurrence, chunked or fft"),
    _column("flops_projection", "float", "FLOPs/token", "forward: projections in and out of sequence mixers"),
    _column("flops_core", "float", "FLOPs/token", "forward: attention's matmuls (causal, halved) or convolutions"),
    _column("flops_core_full", "float", "FLOPs/token", "forward: the same with attention not halved"),
    _column("flops_channel", "float", "FLOPs/token", "forward: channel mixers"),
    _column("flops_head", "float", "FLOPs/token", "forward: output head"),
    _column("flops_embedding", "float", "FLOPs/token", "forward: embedding look-up (free: 0)"),
    _column("params", "int", "", "all parameters; a tied head is counted once"),
    _column("params_embedding", "int", "", "token embedding, and the head where it is not tied to it"),
    _column("params_mixer", "int", "", "sequence mixers"),
    _column("params_channel", "int", "", "channel mixers"),
    _column("params_norm", "int", "", "normalization gains"),
    _column("params_active", "int", "", "those that act on one token: of a mixture's experts, the chosen ones"),
    _column("state_dim", "int", "", "real numbers one sequence's decoding state holds after `seq_len` tokens"),
    _column("state_bytes", "int", "bytes", "the same, by `state_convention`"),
    _column("state_convention", "str", "", "dtypes of what grows with or copies the input, and of recurrent states"),
    _column("tokens", "int", "", "training tokens seen, repeats counted"),
    _column("repeated_share", "float", "", "share of `tokens` that were seen before in the same run"),
    _column(
        "loss",
        "float",
        "nats/token",
        "validation loss at the end, or where a run was pruned; for a diverged run the last finite training loss",
    ),
    _column("train_loss", "float", "nats/token", "mean training loss, less penalties, of the last tenth of the steps"),
    _column(
        "bytes_per_token",
        "float",
        "bytes",
        "of the validation text, so that loss / ln 2 / this is bits per byte",
    ),
    _column("source", "str", "", "corpus as it was named"),
    _column("corpus_sha256", "str", "", "hash of the corpus's documents"),
    _column("tokenizer", "str", "", "bytes or bpe-VOCAB"),
    _column("tokenizer_sha256", "str", "", "hash of the tokenizer's definition"),
    _column("vocab_size", "int", "", "entries of the vocabulary"),
    _column("seq_len", "int", "tokens", "training and validation sequence length"),
    _column("valid_sequences", "int", "", "validation sequences, the same for every run"),
    _column("n_layers", "int", "", "blocks: one sequence mixer and one channel mixer each"),
    _column("d_model", "int", "", "width"),
    _column("n_heads", "int", "", "attention's query heads"),
    _column("n_kv_heads", "int", "", "attention's key and value heads"),
    _column("d_ffn", "int", "", "hidden width of the channel mixer"),
    _column("n_modes", "int", "", "poles per channel of a modal convolution"),
    _column("poles", "str", "", "real or complex"),
    _column("lr", "float", "", "peak learning rate"),
    _column("weight_decay", "float", "", "AdamW's, on matrices only"),
    _column("warmup_fraction", "float", "", "share of the steps over which the learning rate rises to its peak"),
    _column("init_scale", "float", "", "factor on the weights that the model draws"),
    _column("schedule", "str", "", "cosine or wsd"),
    _column("start", "str", "", "hash of the weights that it began from; empty where they were drawn, as those below"),
    _column(
        "parent",
        "str",
        "",
        "run_id of the run whose weights those are, some mixers replaced or none, or of what stands in for one",
    ),
    _column("parent_flops", "float", "FLOPs", "all compute behind the parent's weights; null where nobody knows"),
    _column("parent_loss", "float", "nats/token", "validation loss of the parent"),
    _column("graft_flops", "float", "FLOPs", "compute of the regression that new mixers had; 0 where there are none"),
    _column("start_loss", "float", "nats/token", "validation loss of the weights that it began from"),
    _column("batch_size", "int", "sequences", "per optimizer step"),
    _column("micro_batch", "int", "sequences", "per forward pass"),
    _column("sequences", "int", "", "trained on in all"),
    _column("steps", "int", "", "optimizer steps planned"),
    _column("steps_done", "int", "", "optimizer steps taken"),
    _column("seed", "int", "", "of initialization and data order"),
    _column("precision", "str", "", "fp32 or bf16 (autocast)"),
    _column("threads", "int", "", "CPU threads; 0 on an accelerator"),
    _column("device", "str", "", "name of the device"),
    _column("seconds", "float", "s", "wall time in the training loop, over all resumptions"),
    _column("tokens_per_second", "float", "tokens/s", "training tokens over `seconds`"),
    _column(
        "mfu",
        "float",
        "",
        "`flops` over `seconds`, compilation included, over the device's dense bf16 peak; null where that is unknown",
    ),
    _column("peak_memory", "int", "bytes", "device memory at its peak; 0 where it was not measured"),
    _column("torch", "str", "", "version of torch"),
    _column("eutectic", "str", "", "version of eutectic"),
    _column("commit", "str", "", "git commit of the code, with + where it was modified; empty outside a checkout"),
    _column("finished", "str", "UTC", "ISO 8601 time at which the run ended"),
    _column("config", "str", "", "the whole RunConfig as canonical JSON"),
)

CURVES = (
    _column("run_id", "str", "", "the run this step belongs to"),
    _column("step", "int", "", "optimizer steps taken so far"),
    _column("tokens", "int", "", "training tokens seen so far"),
    _column("flops", "float", "FLOPs", "compute spent so far, by the run's convention"),
    _column("train_loss", "float", "nats/token", "mean since the row before"),
    _column("valid_loss", "float", "nats/token", "validation loss where it was measured, else null"),
    _column("lr", "float", "", "learning rate of this step"),
    _column("grad_norm", "float", "", "before clipping"),
    _column("seconds", "float", "s", "wall time so far"),
)

SENSITIVITY = (
    _column(
        "parent", "str", "", "run_id of the run, or of what stands in for one, of which one layer's mixer was replaced"
    ),
    _column("layers", "str", "", "the parent's stack of sequence mixers, from the first layer to the last"),
    _column("layer", "int", "", "the layer, from 0"),
    _column("old", "str", "", "the parent's mixer there"),
    _column("new", "str", "", "the mixer in its place, regressed on the inputs and outputs of the old one"),
    _column("error_before", "float", "", "relative L2 error of the new mixer's outputs as it was drawn"),
    _column("error_after", "float", "", "the same after regression; both on training text that it did not see"),
    _column("loss", "float", "nats/token", "loss on the parent's validation windows"),
    _column("rise", "float", "nats/token", "that less the parent's own there"),
    _column("rise_error", "float", "nats/token", "standard error of `rise`, over windows"),
    _column("sequences", "int", "", "validation windows"),
    _column("tokens", "int", "", "training tokens that the new mixers were regressed on"),
    _column("flops", "float", "FLOPs", "compute of that, of all layers scanned together, the parent's pass included"),
    _column("convention", "str", "", "how `flops` counts"),
    _column("seed", "int", "", "of the new mixers' initialization and of data order"),
    _column("device", "str", "", "name of the device"),
    _column("commit", "str", "", "git commit of the code, with + where it was modified; empty outside a checkout"),
)

CONTEXT = (
    _column("model", "str", "", "folder of the checkpoint: of a run, its run_id"),
    _column("arch", "str", "", "layout of sequence mixers; null where the checkpoint is no run's"),
    _column("seq_len", "int", "tokens", "length that the model was trained with; null where that is unknown"),
    _column("source", "str", "", "documents: `validation`, those that the sweep held out, or a source as it was named"),
    _column("document", "str", "", "begins the hash of its tokens"),
    _column("length", "int", "tokens", "of the document"),
    _column("targets", "int", "tokens", "the document's last, whose loss is measured"),
    _column("context", "int", "tokens", "of the document that are read before them, after a separator"),
    _column("nats", "float", "nats/token", "mean loss of the targets"),
    _column("bits_per_byte", "float", "bits/byte", "the same, of the text that the targets spell"),
    _column("device", "str", "", "cpu, in float32, or cuda, in bfloat16"),
)

_FILTERS = (
    _column("model", "str", "", "folder of the checkpoint: of a run, its run_id"),
    _column("arch", "str", "", "layout of sequence mixers"),
    _column("seq_len", "int", "tokens", "length that the model was trained with"),
    _column("path", "str", "", "module of the model whose filters they are, e.g. blocks.0.mixer"),
    _column("layer", "int", "", "its layer, from 0"),
    _column("mixer", "str", "", "what stands there, e.g. hyena"),
    _column("channels", "int", "", "filters that it has: one a channel, or a head"),
    _column("channel", "int", "", "which of them, from 0"),
)

FILTERS = (
    *_FILTERS,
    _column("memory", "int", "tokens", "lag by which 90% of its energy is seen, of that of lags from 1 to `seq_len`"),
    _column("lag", "int", "tokens", "from 0; closely at first, then eight to an octave"),
    _column("value", "float", "", "impulse response there, the skip D included at 0"),
    _column("low", "float", "", "the least from there to before the next `lag`, which is that where lags are close"),
    _column("high", "float", "", "the largest there"),
)

POLES = (
    *_FILTERS,
    _column("mode", "int", "", "term of h_t = Re sum_n R_n p_n^t, from 0; those without a residue are left out"),
    _column("radius", "float", "", "|p|"),
    _column("angle", "float", "radians", "of p, from 0 to pi: that of the pair's pole in the upper half of the plane"),
    _column("residue", "float", "", "|R|; null where rounding hides it, of poles too close to each other"),
    _column("time_constant", "float", "tokens", "-1 / ln |p|, in which the mode decays to 1 / e"),
)

_TRAINED = (
    _column("run_id", "str", "", "the run whose model it was"),
    _column("arch", "str", "", "its layout of sequence mixers"),
    _column("seed", "int", "", "its seed"),
    _column("length", "int", "tokens", "sequence length that it was trained on, over which filters are compared"),
)

DISTILL = (
    *_TRAINED,
    _column("path", "str", "", "module of the model whose filters were distilled, e.g. blocks.0.mixer"),
    _column("layer", "int", "", "its layer, from 0"),
    _column("mixer", "str", "", "what the layer was, e.g. hyena_implicit; it became hyena"),
    _column("channels", "int", "", "filters of the layer"),
    _column("max_order", "int", "", "order asked for: real states a channel, at most"),
    _column("tolerance", "float", "", "share of the sum of Hankel singular values that may be left out"),
    _column("order_mean", "float", "", "order chosen, mean over channels"),
    _column("order_max", "int", "", "order chosen, highest of the channels"),
    _column("modes_max", "int", "", "modes of the fullest channel: one for a pair of poles or a real pole"),
    _column("n_modes", "int", "", "modes that every channel of the model has"),
    _column("error", "float", "", "relative L2 error of a filter without h_0, median over channels"),
    _column("error_low", "float", "", "the same, first decile"),
    _column("error_high", "float", "", "the same, last decile"),
    _column("error_max", "float", "", "the same, largest"),
    _column("peak", "float", "", "largest error at any frequency over the filter's L2 norm, median over channels"),
    _column("lower", "float", "", "what no filter of that order has less of: sigma_{order + 1}, over the same norm"),
    _column("upper", "float", "", "the bound of balanced truncation: 2 (sigma_{order + 1} + ...), over the same norm"),
    _column("within_bound", "float", "", "share of channels whose `peak` is within `upper`"),
    _column("perplexity_before", "float", "", "of the held-out text, by the model as it was trained"),
    _column("perplexity", "float", "", "of the same, by the model with all its long filters distilled"),
    _column(
        "ratio_low", "float", "", "`perplexity` over `perplexity_before`, the lower end of 95%, by windows of text"
    ),
    _column("ratio_high", "float", "", "the same, its upper end"),
)

PRUNE = (
    *_TRAINED,
    _column("modes", "int", "", "modes that every channel has; the first row of a run is of the unpruned model"),
    _column("within_budget", "bool", "", "whether the perplexity it is judged by rose by no more than the budget"),
    _column("error", "float", "", "relative L2 error of a filter without h_0, median over the channels of all layers"),
    _column("error_max", "float", "", "the same, largest"),
    _column("judged_perplexity", "float", "", "of the first half of the held-out text, which decides what is kept"),
    _column("perplexity", "float", "", "of the second half, which decides nothing"),
    _column(
        "ratio_low", "float", "", "`perplexity` over the unpruned model's, the lower end of 95%, by windows of text"
    ),
    _column("ratio_high", "float", "", "the same, its upper end"),
    _column("state_bytes", "int", "bytes", "what decoding keeps of one sequence of `length`, by `state_convention`"),
    _column("filter_bytes", "int", "bytes", "of these, the states of modal filters"),
    _column("state_convention", "str", "", "dtypes of what grows with or copies the input, and of recurrent states"),
    _column("decode_ms", "float", "ms", "for one more token of one sequence of `length`, as `generate` decodes"),
    _column("device", "str", "", "name of the device that it was timed on"),
)

TRIALS = (
    _column("trial", "str", "", "hash of everything that determines the scores of one architecture on one task"),
    _column("arch", "str", "", "layout of sequence mixers as it was asked for, e.g. hyena+attn"),
    _column("layout", "str", "", "the same with the options that give it its state, e.g. mamba2(d_state=30)"),
    _column("task", "str", "", "name of the task, e.g. recall"),
    _column("settings", "str", "", "the task with every setting, e.g. recall(vocab=16,length=128)"),
    _column("match", "str", "", "what the architectures have in common: width, params or state"),
    _column("n_layers", "int", "", "layers of the model"),
    _column("d_model", "int", "", "width"),
    _column("n_heads", "int", "", "heads of mixers that have some"),
    _column("n_modes", "int", "", "modes of modal convolutions"),
    _column("d_ffn", "int", "", "hidden width of the channel mixers"),
    _column("params", "int", "", "all parameters"),
    _column("state_dim", "int", "", "real numbers that the decoding state of one example holds at its end"),
    _column("length", "int", "tokens", "of an example"),
    _column("tokens", "int", "", "that each model was trained on"),
    _column("examples", "int", "", "different examples among them"),
    _column("batch", "int", "", "examples an optimizer step"),
    _column("seed", "int", "", "of the weights, the examples and their order"),
    _column("lr", "float", "", "peak learning rate"),
    _column("loss", "float", "nats", "training loss a target at the last step"),
    _column("valid", "float", "", "share of what is asked of validation examples that is answered rightly"),
    _column("test", "float", "", "the same of test examples, which only models of the chosen rate read; else null"),
    _column("chance", "float", "", "of a guess that does not read the example"),
    _column("control", "bool", "", "whether answers were drawn anew, so that there was nothing to learn"),
    _column("seconds", "float", "s", "wall time of the trial, all its models together"),
    _column("device", "str", "", "name of the device"),
    _column("torch", "str", "", "version of torch"),
    _column("eutectic", "str", "", "version of eutectic"),
    _column("commit", "str", "", "git commit of the code, with + where it was modified; empty outside a checkout"),
    _column("finished", "str", "UTC", "ISO 8601 time at which the trial ended"),
)

ABLATION = (
    *(column for column in TRIALS if column.name in ("trial", "arch", "task", "settings", "seed", "lr")),
    _column("layer", "int", "", "the layer whose sequence mixer was silenced, from 0"),
    _column("mixer", "str", "", "what stands there"),
    _column("valid", "float", "", "accuracy on validation examples, by the whole model"),
    _column("without", "float", "", "the same with that mixer giving zeros"),
)

LOSSES = (
    _column("sweep", "str", "", "name of the sweep that scores were held against"),
    _column("arch", "str", "", "layout of sequence mixers"),
    _column("budget", "float", "FLOPs", "compute of each run"),
    _column("loss", "float", "nats/token", "at the minimum of the isoFLOP parabola; null where there is none"),
    _column("status", "str", "", "optimum, or why there is none, e.g. beyond grid"),
)

TABLES = {
    "runs": RUNS,
    "curves": CURVES,
    "sensitivity": SENSITIVITY,
    "context": CONTEXT,
    "filters": FILTERS,
    "poles": POLES,
    "distill": DISTILL,
    "prune": PRUNE,
    "trials": TRIALS,
    "ablation": ABLATION,
    "losses": LOSSES,
}
# of tables that are added to: a row that is new replaces one of the same
KEYS = {
    "sensitivity": ("parent", "new", "layer"),
    "context": ("model", "document", "targets", "context"),
    "filters": ("model", "path", "channel", "lag"),
    "poles": ("model", "path", "channel", "mode"),
    "distill": ("run_id", "path", "max_order", "tolerance"),
    "prune": ("run_id", "modes", "device"),
    "trials": ("trial", "seed", "lr"),
    "ablation": ("trial", "seed", "layer"),
}
# columns that the first logs had not
_LATER = (
    "layers",
    "channel",
    "mixers",
    "match",
    "params_active",
    "state_dim",
    "state_bytes",
    "state_convention",
    "mfu",
    "warmup_fraction",
    "init_scale",
    "start",
    "parent",
    "parent_flops",
    "parent_loss",
    "graft_flops",
    "start_loss",
)


@functools.cache
def arrow_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """The pyarrow schema, with each column's unit and doc as field metadata."""
    return pa.schema([pa.field(c.name, c.type, metadata={"unit": c.unit, "doc": c.doc}) for c in columns])


def conform(table: pa.Table, name: str) -> pa.Table:
    """A log as this schema has it: columns in order and typed, those that came later null where the log is older.

    Raises KeyError for a column that every log has had, pyarrow.ArrowException for one of another type.
    """
    schema = arrow_schema(TABLES[name])
    if table.schema.equals(schema):
        return table
    for field in schema:
        if field.name in _LATER and field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(len(table), field.type))
    return table.select(schema.names).cast(schema)


def markdown() -> str:
    """The text of results/SCHEMA.md."""
    lines = ["# Schema of the logs", "", "Generated from `analysis/schema.py` by `make schema`.", ""]
    for table, columns in TABLES.items():
        lines += [f"## {table}.parquet", "", "| column | type | unit | meaning |", "|---|---|---|---|"]
        lines += [f"| `{c.name}` | {c.type} | {c.unit} | {c.doc} |" for c in columns] + [""]
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown(), end="")
