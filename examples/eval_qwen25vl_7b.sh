#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The paper's Table 1 (arXiv 2505.24718): one model on six benchmarks, by verl's own validation with vLLM. Any verl
# override can follow on the command line.
#
#   for NAME in clevrer nextgqa mmvu mvbench tempcompass videomme; do     # once; see --help for what each reads
#       python data_prep/benchmarks.py --benchmark $NAME --annotations … --video-root … --output data/benchmarks/$NAME.parquet
#   done
#   bash examples/eval_qwen25vl_7b.sh                                     # zero-shot
#   MODEL=outputs/qwen25vl_7b_tw_grpo/checkpoints/global_step_500/actor/huggingface bash examples/eval_qwen25vl_7b.sh
#   DRY_RUN=1 bash examples/eval_qwen25vl_7b.sh        # compose, validate and print the configuration; no GPU
#
# OUT/BENCHMARK holds the answers in the order of the questions, verl's whole configuration, versions and scores; OUT the
# table. Calling it again goes on: finished parts of PART questions are kept, and a benchmark has no score before every
# question has its answer. DEVICE=cpu runs the same on a machine made by examples/setup_cpu.sh, for example
#   DEVICE=cpu MODEL=…/policy BENCHMARKS=toy_clevrer DATA=… FRAMES= PIXELS= MAX_PROMPT=128 MAX_RESPONSE=64 …
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(dirname "$HERE")
INVOKED_FROM=$PWD

MODEL=${MODEL:-Qwen/Qwen2.5-VL-7B-Instruct}         # name on the hub, or folder with a whole model
BENCHMARKS=${BENCHMARKS:-clevrer nextgqa mmvu mvbench tempcompass videomme}
DATA=${DATA:-data/benchmarks}                       # folder with BENCHMARK.parquet
OUT=${OUT:-outputs/eval/$(basename "$MODEL")}
FRAMES=${FRAMES-16}                                 # of a video, at most; empty: as the parquet has it
PIXELS=${PIXELS-$((256 * 28 * 28))}                 # of a frame, at most; empty: as the parquet has it
TEMPERATURE=${TEMPERATURE:-}                        # empty, as TOP_P: recipe/tw_grpo/evaluation/decoding.args
TOP_P=${TOP_P:-}
SEED=${SEED:-0}                                     # of vLLM
RULE=${RULE:-tolerant}                              # how answers are read; strict: the public code's rule
MAX_PROMPT=${MAX_PROMPT:-4096}
MAX_RESPONSE=${MAX_RESPONSE:-4096}
BATCH=${BATCH:-256}                                 # questions in flight
PART=${PART:-2500}                                  # questions one start of verl answers; 0: all of a benchmark
DEVICE=${DEVICE:-cuda}
NNODES=${NNODES:-1}
GPUS_PER_NODE=${GPUS_PER_NODE:-2}
DRY_RUN=${DRY_RUN:-0}

refuse() { echo "eval_qwen25vl_7b: error: $*" >&2; exit 2; }
[[ $DEVICE =~ ^(cuda|cpu)$ ]] || refuse "DEVICE=$DEVICE is neither cuda nor cpu"
[[ $BENCHMARKS =~ ^[a-zA-Z0-9_\ -]+$ ]] || refuse "BENCHMARKS=$BENCHMARKS must be names separated by blanks"
if [ "$DEVICE" = cpu ]; then export VERL_PLATFORM=cpu; fi
source "$HERE/find_python.sh"                       # PYTHON, and ATTENTION: what an environment without flash-attn needs
[[ $DATA = /* ]] || DATA=$INVOKED_FROM/$DATA
[[ $OUT = /* ]] || OUT=$INVOKED_FROM/$OUT
if [ -d "$MODEL" ]; then
    MODEL=$(cd "$MODEL" && pwd)
    compgen -G "$MODEL/*.safetensors" >/dev/null || compgen -G "$MODEL/*.bin" >/dev/null ||
        refuse "MODEL=$MODEL holds no weights: train with hf_model among actor_rollout_ref.actor.checkpoint.save_contents"
fi
for BENCHMARK in $BENCHMARKS; do
    if [ "$DRY_RUN" = 0 ] && [ ! -f "$DATA/$BENCHMARK.parquet" ]; then
        refuse "$DATA/$BENCHMARK.parquet is missing: write it with data_prep/benchmarks.py, or take $BENCHMARK out of BENCHMARKS"
    fi
done

ALGORITHM=(
    algorithm.adv_estimator=grpo                    # nothing is trained; grpo needs no critic
    algorithm.use_kl_in_reward=False
)
VALIDATION=(
    data.train_batch_size=$((NNODES * GPUS_PER_NODE))
    data.val_batch_size="$BATCH"
    data.validation_shuffle=False
    data.max_prompt_length="$MAX_PROMPT"
    data.max_response_length="$MAX_RESPONSE"
    data.filter_overlong_prompts=False              # every question counts
    data.truncation=error
    trainer.val_before_train=True
    trainer.val_only=True
    trainer.resume_mode=disable
    trainer.total_epochs=1
    trainer.project_name=tw_grpo
    trainer.experiment_name=evaluation
    trainer.logger='["console","file"]'
    trainer.nnodes="$NNODES"
    trainer.n_gpus_per_node="$GPUS_PER_NODE"
)
ACTOR=(
    actor_rollout_ref.model.path="$MODEL"
    actor_rollout_ref.model.use_remove_padding=True
    actor_rollout_ref.actor.strategy=fsdp2          # loads the model, hands it to vLLM, and stays idle
    actor_rollout_ref.actor.fsdp_config.strategy=fsdp2
    actor_rollout_ref.actor.fsdp_config.param_offload=True
    actor_rollout_ref.actor.fsdp_config.optimizer_offload=True
    actor_rollout_ref.actor.ppo_mini_batch_size=$((NNODES * GPUS_PER_NODE))
    actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=1
    actor_rollout_ref.actor.use_kl_loss=False
)
mapfile -t DECODING < <(read_args "$RECIPE/tw_grpo/evaluation/decoding.args")
if [ -n "$TEMPERATURE" ]; then DECODING+=(actor_rollout_ref.rollout.val_kwargs.temperature="$TEMPERATURE"); fi
if [ -n "$TOP_P" ]; then DECODING+=(actor_rollout_ref.rollout.val_kwargs.top_p="$TOP_P"); fi
ROLLOUT=(
    actor_rollout_ref.rollout.name=vllm
    actor_rollout_ref.rollout.n=1
    actor_rollout_ref.rollout.seed="$SEED"
    actor_rollout_ref.rollout.tensor_model_parallel_size=1
    actor_rollout_ref.rollout.gpu_memory_utilization=0.7
    actor_rollout_ref.rollout.max_model_len=$((MAX_PROMPT + MAX_RESPONSE))
    actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=1
    actor_rollout_ref.rollout.val_kwargs.n=1        # one answer a question is what is scored
    "${DECODING[@]}"
)
REWARD=(
    reward.reward_manager.name=multi_answer         # names the question in each line of the dump
    +reward.reward_kwargs.rule="$RULE"
)
CPU=()
if [ "$DEVICE" = cpu ]; then
    source "$RECIPE/cpu_platform/env.sh"
    mapfile -t CPU < <(read_args "$RECIPE"/cpu_platform/{overrides,padded}.args)
    FP32=+actor_rollout_ref.actor.fsdp_config.mixed_precision
    CPU+=(
        data.train_batch_size=1 actor_rollout_ref.actor.ppo_mini_batch_size=1
        $FP32.param_dtype=fp32 $FP32.reduce_dtype=fp32 $FP32.buffer_dtype=fp32
        actor_rollout_ref.rollout.dtype=float32
        actor_rollout_ref.rollout.max_num_seqs=64
    )
fi

ALL=("${ALGORITHM[@]}" "${VALIDATION[@]}" "${ACTOR[@]}" ${ATTENTION[@]+"${ATTENTION[@]}"} "${ROLLOUT[@]}"
    "${REWARD[@]}" ${CPU[@]+"${CPU[@]}"} "$@")
if [ "$DRY_RUN" = args ]; then printf '%s\n' "${ALL[@]}"; exit 0; fi
cd "$ROOT"
"$PYTHON" -m recipe.tw_grpo.preflight
if [ "$DRY_RUN" != 0 ]; then
    FIRST=$DATA/${BENCHMARKS%% *}.parquet
    exec "$PYTHON" -m recipe.tw_grpo.dry_run "${ALL[@]}" data.train_files="$FIRST" data.val_files="$FIRST"
fi
FAILED=()
for BENCHMARK in $BENCHMARKS; do
    echo "$BENCHMARK: $OUT/$BENCHMARK"
    CODE=0
    "$PYTHON" -m recipe.tw_grpo.evaluation.launch --out "$OUT/$BENCHMARK" --benchmark "$BENCHMARK" \
        --data "$DATA/$BENCHMARK.parquet" --model "$MODEL" --frames "$FRAMES" --pixels "$PIXELS" --part "$PART" \
        --rule "$RULE" -- "$PYTHON" -m verl.trainer.main_ppo "${ALL[@]}" || CODE=$?
    if [ "$CODE" = 130 ] || [ "$CODE" = 143 ]; then exit "$CODE"; fi
    if [ "$CODE" != 0 ]; then FAILED+=("$BENCHMARK"); fi
done
if [ "${#FAILED[@]}" -gt 0 ]; then echo "eval_qwen25vl_7b: not finished: ${FAILED[*]}; call this again to go on" >&2; fi
"$PYTHON" -m recipe.tw_grpo.evaluation.table "$OUT"
[ "${#FAILED[@]}" = 0 ]
