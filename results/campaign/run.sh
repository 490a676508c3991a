#!/usr/bin/env bash
# The campaign in the order of PLAN.md, what tells most for its FLOPs first. Every step goes on where it was: runs that are
# done are not trained again. Options are handed to all steps, e.g. --workers 2, or --cluster slurm --slurm partition=gpu.
set -euo pipefail
cd "$(dirname "$0")/../.."
PATH=$PWD/.venv/bin:$PATH

step() { # PART RECIPE OPTIONS...
    eutectic sweep --results results/campaign --name "$1" --recipe "$2" --settings tune "${@:3}"
}

eutectic tune --results results/campaign --name tune --recipe campaign_tune --trials 16 "$@"
eutectic tune --results results/campaign --name tune --recipe campaign_tune --archs attn 'hyena*3+attn' --trials 32 "$@"
step main campaign --budget 3e14 1e15 "$@"
step ratio campaign_ratio --budget 3e14 1e15 "$@"
step main campaign --budget 3e14 --sizes 3 --seeds 1 2 "$@"
step placement campaign_placement --budget 3e14 "$@"
step heads campaign_heads --budget 3e14 "$@"
step domain campaign_domain --sizes 3 "$@"
step main campaign --budget 3e14 1e15 --sizes 9 --archs attn hyena 'hyena*3+attn' hyena+attn "$@"
step main campaign --budget 3e15 --archs attn hyena mamba2 gated_deltanet 'hyena*7+attn' 'hyena*3+attn' hyena+attn 'mamba2*3+attn' "$@"
step main campaign --budget 1e15 --sizes 3 --seeds 1 2 "$@"
step ratio campaign_ratio --budget 3e15 --sizes 3 "$@"
step placement campaign_placement --budget 1e15 "$@"
step heads campaign_heads --budget 1e15 "$@"
# the queue: what else there is FLOPs for
step main campaign --budget 3e15 "$@"
step main campaign --budget 1e16 --archs attn hyena 'hyena*3+attn' hyena+attn "$@"
