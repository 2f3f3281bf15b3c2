#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The 7B launch script rehearsed on a CPU: examples/run_qwen25vl_7b_twgrpo.sh itself trains a small Qwen2.5-VL of the same
# structure on sixteen frames of 480 x 320, with two data-parallel ranks, micro-batches of one, packed rows, gradient
# checkpointing, offload, a frozen tower, checkpoints, a resume and validation; one line a check, exit code 0 if all hold.
# Only the model, the device, FlashAttention's kernels and the number of steps are replaced; each override that differs
# is printed with its reason.
#
#   bash examples/rehearse_cpu.sh
#   PRECISION=fp32 RESUME=0 STEPS=2 bash examples/rehearse_cpu.sh     # rounding hides nothing
#   TW_GRPO_REPAIRS=time-positions bash examples/rehearse_cpu.sh      # without this repair the agreement check fails
#   DRY_RUN=args bash examples/rehearse_cpu.sh                        # print the overrides, one a line
#
#   STEPS       training steps of the first start                                               (default 2)
#   RESUME      1: a second start goes on for one step more from the last checkpoint; 0: none   (default 1)
#   ESTIMATOR   tw_grpo or grpo                                                                 (default tw_grpo)
#   PRECISION   bf16, as the script trains, or fp32                                             (default bf16)
#   MODEL_KIND  qwen2_5_vl                                                                      (default qwen2_5_vl)
#   OUT         folder of the run, replaced if it holds a rehearsal             (default outputs/rehearsal-ESTIMATOR-PRECISION)
#   VENV, PYTHON, TORCH_WHEEL_INDEX: see examples/setup_cpu.sh
# Any verl override can follow on the command line.
set -euo pipefail
INVOKED_FROM=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

STEPS=${STEPS:-2}
RESUME=${RESUME:-1}
ESTIMATOR=${ESTIMATOR:-tw_grpo}
PRECISION=${PRECISION:-bf16}
MODEL_KIND=${MODEL_KIND:-qwen2_5_vl}
OUT=${OUT:-$PWD/outputs/rehearsal-$ESTIMATOR-$PRECISION}
export VENV=${VENV:-$PWD/.venv}
ASSETS=${ASSETS:-$PWD/.cache/rehearsal}     # videos and the warm-started policy, made once (about five minutes)

refuse() { echo "rehearse_cpu: error: $*" >&2; exit 2; }
[[ $STEPS =~ ^[1-9][0-9]*$ ]] || refuse "STEPS=$STEPS is not a number of steps, 1 or more"
[[ $RESUME =~ ^[01]$ ]] || refuse "RESUME=$RESUME is neither 0 nor 1"
[[ $ESTIMATOR =~ ^(tw_grpo|grpo)$ ]] || refuse "ESTIMATOR=$ESTIMATOR is neither tw_grpo nor grpo"
[[ $PRECISION =~ ^(bf16|fp32)$ ]] || refuse "PRECISION=$PRECISION is neither bf16 nor fp32"
[ "$MODEL_KIND" != qwen3_vl ] || refuse "MODEL_KIND=qwen3_vl: verl 0.9.1 gives sampler and actor different prompts when Qwen3-VL sees a video (verl issue 5024): leave MODEL_KIND out"
[ "$MODEL_KIND" = qwen2_5_vl ] || refuse "MODEL_KIND=$MODEL_KIND is not qwen2_5_vl"
[[ $OUT = /* ]] || OUT=$INVOKED_FROM/$OUT

bash examples/setup_cpu.sh
export PATH=$VENV/bin:$PATH
source recipe/cpu_platform/env.sh

# Videos with questions, their parquet files, and the policy: made once for each state of their sources.
KEY=$(cat examples/rehearsal/videos.py examples/tiny/{physics,world,render,toy_clevrer}.py data_prep/{,*/}*.py | cksum)
VIDEOS=$ASSETS/${KEY%% *}
if [ "${DRY_RUN:-0}" = 0 ]; then
    if [ ! -f "$VIDEOS/clevrer/toy_clevrer.json" ]; then
        python -m examples.tiny.toy_clevrer --out "$VIDEOS/clevrer" --level 2 --seed 0 --scenes 16 --questions-per-scene 1 \
            --validation-scenes 4 --height 112 --width 168 --frames 16 --slower 8 --fps 25 --picture-width 480
    fi
    for split in train validation; do
        if [ ! -f "$VIDEOS/$split.parquet" ]; then
            python data_prep/clevrer_counterfactual.py --annotations "$VIDEOS/clevrer" --split $split \
                --video-root "$VIDEOS/clevrer" --data-source toy_clevrer --output "$VIDEOS/$split.parquet"
        fi
    done
    python -m examples.rehearsal.warm_start --out "$ASSETS/policy"
    if [ -n "${ASSETS_ONLY:-}" ]; then echo "$ASSETS"; exit 0; fi
fi

exec python -m examples.rehearsal.run --out "$OUT" --steps "$STEPS" --resume "$RESUME" --estimator "$ESTIMATOR" \
    --precision "$PRECISION" --model "$ASSETS/policy" --train "$VIDEOS/train.parquet" \
    --validation "$VIDEOS/validation.parquet" -- "$@"
