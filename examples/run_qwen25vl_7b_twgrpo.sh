#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The paper's run (arXiv 2505.24718, section 4): TW-GRPO on Qwen2.5-VL-7B, CLEVRER counterfactual questions, 2 GPUs,
# 1 prompt x 8 responses a GPU and step, 500 steps. Any verl override can follow on the command line.
#
#   python data_prep/clevrer_counterfactual.py --annotations CLEVRER/questions/train.json \
#       --video-root CLEVRER/video_train --fps 2 --max-pixels 200704 --limit 1100 --output data/clevrer_train.parquet
#   bash examples/run_qwen25vl_7b_twgrpo.sh
#   DRY_RUN=1 bash examples/run_qwen25vl_7b_twgrpo.sh      # check settings, data and model, print the settings; no GPU
#   DRY_RUN=compose bash examples/run_qwen25vl_7b_twgrpo.sh    # check and print the settings only
#   DRY_RUN=args bash examples/run_qwen25vl_7b_twgrpo.sh   # print its overrides, one a line
#   bash examples/run_qwen25vl_7b_twgrpo.sh                # again: goes on after a stop; other settings are refused
#   ROW=tablea1_g12 bash examples/run_qwen25vl_7b_twgrpo.sh    # another row of the paper, see docs/paper_index.md
#
# The settings are the published run's; what still differs is listed in docs/paper_index.md.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(dirname "$HERE")

MODEL_PATH=${MODEL_PATH:-Qwen/Qwen2.5-VL-7B-Instruct}
TRAIN_FILE=${TRAIN_FILE:-data/clevrer_train.parquet}
VAL_FILE=${VAL_FILE:-}                              # empty: HOLD_OUT questions of TRAIN_FILE, by whole videos
HOLD_OUT=${HOLD_OUT:-100}
ADV_ESTIMATOR=${ADV_ESTIMATOR:-tw_grpo}
ROW=${ROW:-}                                        # a row of examples/paper/rows.yaml: what differs from the settings here
EXPERIMENT=${EXPERIMENT:-qwen25vl_7b_${ROW:-$ADV_ESTIMATOR}}
OUTPUT_DIR=${OUTPUT_DIR:-outputs/$EXPERIMENT}
NNODES=${NNODES:-1}
GPUS_PER_NODE=${GPUS_PER_NODE:-2}
STEPS=${STEPS:-500}
RESUME=${RESUME:-auto}                              # never: start over, the old run is moved aside
DRY_RUN=${DRY_RUN:-0}
source "$HERE/find_python.sh"                       # PYTHON, and ATTENTION: what an environment without flash-attn needs

PAPER=()
if [ -n "$ROW" ]; then
    OVERRIDES=$("$PYTHON" -m recipe.tw_grpo.runs.paper_row "$HERE/paper/rows.yaml" "$ROW") || exit 2
    mapfile -t PAPER < <(grep -v -e '^data\.train_files=' -e '^$' <<<"$OVERRIDES")
    OWN=$(sed -n 's/^data\.train_files=//p' <<<"$OVERRIDES")
    TRAIN_FILE=${OWN:-$TRAIN_FILE}
fi
if [ -z "$VAL_FILE" ]; then
    PARTS=("$OUTPUT_DIR.data/train.parquet" "$OUTPUT_DIR.data/validation.parquet")
    if [ "$DRY_RUN" = 0 ] || [ "$DRY_RUN" = 1 ]; then
        "$PYTHON" -m data_prep.write.hold_out "$TRAIN_FILE" --questions "$HOLD_OUT" --train "${PARTS[0]}" \
            --validation "${PARTS[1]}" >&2
    fi
    TRAIN_FILE=${PARTS[0]} VAL_FILE=${PARTS[1]}
fi

ALGORITHM=(
    algorithm.adv_estimator="$ADV_ESTIMATOR"        # the one override that turns TW-GRPO on
    algorithm.use_kl_in_reward=False
)
DATA=(
    data.train_files="$TRAIN_FILE"
    data.val_files="$VAL_FILE"
    data.train_batch_size=$((NNODES * GPUS_PER_NODE))   # 1 prompt a GPU
    data.max_prompt_length=4096
    data.max_response_length=4096
    data.filter_overlong_prompts=False              # data_prep bounds the video tokens; filtering decodes every video
    data.truncation=error
    trainer.v1.sampler.sync_refill_failed_groups=True   # a prompt whose video cannot be read is replaced, and counted
)
MODEL=(
    actor_rollout_ref.model.path="$MODEL_PATH"
    actor_rollout_ref.model.use_remove_padding=True
    actor_rollout_ref.model.enable_gradient_checkpointing=True
)
ACTOR=(
    actor_rollout_ref.actor.strategy=fsdp2
    actor_rollout_ref.actor.fsdp_config.strategy=fsdp2
    actor_rollout_ref.actor.fsdp_config.param_offload=True
    actor_rollout_ref.actor.fsdp_config.optimizer_offload=True
    actor_rollout_ref.actor.freeze_vision_tower=True    # as the paper; verl reads it nowhere, the plugin does
    actor_rollout_ref.actor.optim.lr=1e-6
    +actor_rollout_ref.actor.optim.override_optimizer_config.fused=True    # torch's own choice takes 14 GiB a GPU more
    actor_rollout_ref.actor.optim.lr_scheduler_type=linear  # to 0 over the run; the plugin adds it to verl's
    actor_rollout_ref.actor.optim.weight_decay=0
    actor_rollout_ref.actor.grad_clip=20
    actor_rollout_ref.actor.ppo_mini_batch_size=$((NNODES * GPUS_PER_NODE))
    actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=1
    actor_rollout_ref.actor.clip_ratio_low=0.2
    actor_rollout_ref.actor.clip_ratio_high=0.28
    actor_rollout_ref.actor.loss_agg_mode=token-mean
    actor_rollout_ref.actor.use_kl_loss=False
    actor_rollout_ref.actor.entropy_coeff=0
    actor_rollout_ref.actor.checkpoint.save_contents='[model,optimizer,extra,hf_model]'     # the last for evaluation
)
mapfile -t DECODING < <(read_args "$RECIPE/tw_grpo/evaluation/decoding.args")
ROLLOUT=(
    actor_rollout_ref.rollout.name=vllm
    actor_rollout_ref.rollout.n=8
    actor_rollout_ref.rollout.temperature=1.0
    actor_rollout_ref.rollout.top_k=50
    actor_rollout_ref.rollout.logprobs_mode=raw_logprobs    # before top_k, as the actor's: the two are compared
    actor_rollout_ref.rollout.tensor_model_parallel_size=1
    actor_rollout_ref.rollout.gpu_memory_utilization=0.5
    actor_rollout_ref.rollout.max_model_len=8192    # prompt + response; else vLLM makes room for the model's 128,000
    actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=1
    "${DECODING[@]}"                                # of the validation, as examples/eval_qwen25vl_7b.sh decodes
)
REWARD=(
    reward.reward_manager.name=multi_answer         # Eq. 7 plus the format reward
)
TRAINER=(
    trainer.project_name=tw_grpo
    trainer.experiment_name="$EXPERIMENT"
    trainer.logger='["console","file","tensorboard"]'   # or wandb, swanlab, …
    trainer.log_val_generations=16                  # answers of each validation in these loggers, as text
    trainer.nnodes="$NNODES"
    trainer.n_gpus_per_node="$GPUS_PER_NODE"
    trainer.total_epochs=1000000                    # the number of steps decides
    trainer.total_training_steps="$STEPS"
    trainer.save_freq=100
    trainer.test_freq=100                           # right after each save, so that the best one is known
    trainer.val_before_train=False
    +trainer.tw_grpo.keep_newest=2                  # and the best one, by +trainer.tw_grpo.best_metric
    trainer.default_local_dir="$OUTPUT_DIR/checkpoints"
    trainer.rollout_data_dir="$OUTPUT_DIR/rollouts"
)

ALL=("${ALGORITHM[@]}" "${DATA[@]}" "${MODEL[@]}" ${ATTENTION[@]+"${ATTENTION[@]}"} "${ACTOR[@]}" "${ROLLOUT[@]}"
    "${REWARD[@]}" "${TRAINER[@]}" ${PAPER[@]+"${PAPER[@]}"} "$@")
if [ "$DRY_RUN" = args ]; then printf '%s\n' "${ALL[@]}"; exit 0; fi
case $DRY_RUN in
    compose) exec "$PYTHON" -m recipe.tw_grpo.dry_run "${ALL[@]}" ;;
    1) exec "$PYTHON" -m recipe.tw_grpo check "${ALL[@]}" ;;
esac
mkdir -p "$OUTPUT_DIR.data"                         # beside the run's folder, which another run may move aside
CONFIG=$OUTPUT_DIR.data/config.yaml
"$PYTHON" -m recipe.tw_grpo check --start --write "$CONFIG" "${ALL[@]}"     # seconds now instead of a failure in minutes
exec "$PYTHON" -m recipe.tw_grpo.runs.launch --out "$OUTPUT_DIR" --steps "$STEPS" --estimator "$ADV_ESTIMATOR" \
    --model "$MODEL_PATH" --config "$CONFIG" --resume "$RESUME" --other refuse --patience 7200 \
    -- "$PYTHON" -m verl.trainer.main_ppo "${ALL[@]}"
