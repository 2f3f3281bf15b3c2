#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# TW-GRPO for real on a CPU: sets up the environment, makes a small world of videos with counterfactual questions, builds
# a tiny Qwen2.5-VL that can see but not reason, trains it with unmodified verl, Ray, FSDP2 and vLLM, and reports.
#
#   bash examples/run_tiny_cpu.sh
#   ESTIMATOR=grpo SEED=1 STEPS=36 OUT=outputs/grpo-1 bash examples/run_tiny_cpu.sh actor_rollout_ref.actor.optim.lr=1e-4
#
#   STEPS      training steps                                                            (default 36)
#   SEED       seed of the run: order of the prompts and every sampled response          (default 1)
#   ESTIMATOR  tw_grpo, or grpo for the baseline: nothing else differs                   (default tw_grpo)
#   OUT        run folder: report.html, summary.json, train.log, rollouts, checkpoints   (default outputs/tiny)
#   RESUME     auto: go on with the same run when it was interrupted, else start over (the old folder is moved aside)
#              never: start over; always: an error when there is nothing to resume       (default auto)
#   VENV, PYTHON, TORCH_WHEEL_INDEX: see examples/setup_cpu.sh
# Any verl override can follow on the command line.
set -euo pipefail
INVOKED_FROM=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

STEPS=${STEPS:-36}
SEED=${SEED:-1}
ESTIMATOR=${ESTIMATOR:-tw_grpo}
OUT=${OUT:-$PWD/outputs/tiny}
RESUME=${RESUME:-auto}
export VENV=${VENV:-$PWD/.venv}
ASSETS=${ASSETS:-$PWD/.cache/tiny}          # toy videos and the warm-started policy, made once

refuse() { echo "run_tiny_cpu: error: $*" >&2; exit 2; }
[[ $STEPS =~ ^[1-9][0-9]*$ ]] || refuse "STEPS=$STEPS is not a number of steps, 1 or more"
[[ $SEED =~ ^[0-9]+$ ]] || refuse "SEED=$SEED is not a whole number, 0 or more"
[[ $ESTIMATOR =~ ^(tw_grpo|grpo)$ ]] || refuse "ESTIMATOR=$ESTIMATOR is neither tw_grpo nor grpo"
[[ $RESUME =~ ^(auto|never|always)$ ]] || refuse "RESUME=$RESUME is none of auto, never, always"
[[ $OUT = /* ]] || OUT=$INVOKED_FROM/$OUT

bash examples/setup_cpu.sh
export PATH=$VENV/bin:$PATH
source recipe/cpu_platform/env.sh
python -m recipe.tw_grpo.preflight

# Toy videos with questions, their parquet files, and the policy: made once for each state of their sources.
KEY=$(cat examples/tiny/{physics,world,render,toy_clevrer,initialisation,lessons,measure,policy,warm_start}.py data_prep/{,*/}*.py | cksum)
ASSETS=$ASSETS/${KEY%% *}
if [ ! -f "$ASSETS/toy-clevrer/toy_clevrer.json" ]; then
    python -m examples.tiny.toy_clevrer --out "$ASSETS/toy-clevrer" --level 1 --seed 0 \
        --scenes 480 --questions-per-scene 2 --validation-scenes 32
fi
for split in train validation; do
    if [ ! -f "$ASSETS/$split.parquet" ]; then
        python data_prep/clevrer_counterfactual.py --annotations "$ASSETS/toy-clevrer" --split $split \
            --video-root "$ASSETS/toy-clevrer" --num-frames 2 --data-source toy_clevrer --output "$ASSETS/$split.parquet"
    fi
done
python -m examples.tiny.warm_start --out "$ASSETS/policy"
if [ -n "${ASSETS_ONLY:-}" ]; then echo "$ASSETS"; exit 0; fi      # for the tests: what follows needs these three
mapfile -t CPU < <(grep -h -v -e '^#' -e '^$' recipe/cpu_platform/{overrides,padded}.args)

ALGORITHM=(
    algorithm.adv_estimator="$ESTIMATOR"        # the one override that turns TW-GRPO on
    algorithm.use_kl_in_reward=False
)
DATA=(
    data.train_files="$ASSETS/train.parquet"
    data.val_files="$ASSETS/validation.parquet"
    data.train_batch_size=8
    data.max_prompt_length=128
    data.max_response_length=64
    data.filter_overlong_prompts=False
    data.image_patch_size=14
    data.seed="$SEED"
)
MODEL=(
    actor_rollout_ref.model.path="$ASSETS/policy"
)
FP32=+actor_rollout_ref.actor.fsdp_config.mixed_precision
ACTOR=(
    actor_rollout_ref.actor.optim.lr=4e-4
    actor_rollout_ref.actor.optim.lr_scheduler_type=cosine  # what has been learned stays learned
    actor_rollout_ref.actor.optim.min_lr_ratio=0.1
    # Larger than most gradients of so small a network: Adam with 1e-8 would move every weight, noise or not, equally far.
    actor_rollout_ref.actor.optim.override_optimizer_config='{eps: 1e-5}'
    actor_rollout_ref.actor.grad_clip=0.1
    actor_rollout_ref.actor.freeze_vision_tower=True        # as the paper; verl reads it nowhere, the plugin does
    actor_rollout_ref.actor.ppo_mini_batch_size=8
    actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=32
    actor_rollout_ref.actor.clip_ratio_low=0.2
    actor_rollout_ref.actor.clip_ratio_high=0.28
    actor_rollout_ref.actor.data_loader_seed="$SEED"
    $FP32.param_dtype=fp32 $FP32.reduce_dtype=fp32 $FP32.buffer_dtype=fp32    # bf16 is slower on most CPUs
)
ROLLOUT=(
    actor_rollout_ref.rollout.n=8
    actor_rollout_ref.rollout.temperature=1.0
    actor_rollout_ref.rollout.dtype=float32
    actor_rollout_ref.rollout.seed="$SEED"
    actor_rollout_ref.rollout.agent.agent_loop_config_path="$PWD/examples/tiny/seeded_agent.yaml"
    actor_rollout_ref.rollout.agent.default_agent_loop=seeded_agent
    actor_rollout_ref.rollout.max_num_seqs=64
    actor_rollout_ref.rollout.max_model_len=256
    # Room for all 64 prompts of 128 tokens at once: vLLM's CPU backend stops when it cuts the prompt of a seeded request
    # in two (vLLM 0.27.1, v1/worker/gpu_model_runner.py:3750 takes back the token drawn too early by a generator's
    # offset, which CPU generators do not have).
    actor_rollout_ref.rollout.max_num_batched_tokens=8192
    actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=32
    actor_rollout_ref.rollout.val_kwargs.temperature=0
)
REWARD=(
    reward.reward_manager.name=multi_answer     # Eq. 7 plus the format reward
)
TRAINER=(
    trainer.logger='["console","file"]'
    trainer.total_epochs=1000000                # the number of steps decides
    trainer.save_freq=20
    trainer.max_actor_ckpt_to_keep=1
    actor_rollout_ref.actor.checkpoint.save_contents='[model,optimizer,extra,hf_model]'
    trainer.val_before_train=True               # 64 questions about held-out worlds, before and after
    trainer.test_freq=1000000
)

exec python -m recipe.tw_grpo.runs.launch --out "$OUT" --steps "$STEPS" --seed "$SEED" --estimator "$ESTIMATOR" \
    --model "$ASSETS/policy" --resume "$RESUME" -- python -m verl.trainer.main_ppo \
    "${CPU[@]}" "${ALGORITHM[@]}" "${DATA[@]}" "${MODEL[@]}" "${ACTOR[@]}" "${ROLLOUT[@]}" "${REWARD[@]}" \
    "${TRAINER[@]}" "$@"
