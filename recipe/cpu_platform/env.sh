# SPDX-License-Identifier: Apache-2.0
# Source this before running anything of verl on a CPU. VERL_PLATFORM=cpu is what turns recipe.cpu_platform on (its
# plugin sets VERL_ENGINE_DEVICE, VLLM_CPU_KVCACHE_SPACE and FORCE_QWENVL_VIDEO_READER, see choice.py); the rest keeps a
# small machine quiet, off the network and patient. A variable that is already set keeps its value, except PYTHONDONTWRITEBYTECODE.
export VERL_PLATFORM=cpu
export HF_HUB_OFFLINE="${HF_HUB_OFFLINE:-1}" TRANSFORMERS_OFFLINE="${TRANSFORMERS_OFFLINE:-1}"
export WANDB_MODE="${WANDB_MODE:-disabled}" DO_NOT_TRACK="${DO_NOT_TRACK:-1}"
export RAY_USAGE_STATS_ENABLED="${RAY_USAGE_STATS_ENABLED:-0}" VLLM_NO_USAGE_STATS="${VLLM_NO_USAGE_STATS:-1}"
# A worker imports torch, verl and vLLM before it answers: tens of seconds each when two cores start seven of them.
export RAY_worker_register_timeout_seconds="${RAY_worker_register_timeout_seconds:-240}"
# Ray's log line per worker instead of "[repeated 3x]", and Hydra's whole traceback: errors stay readable.
export RAY_DEDUP_LOGS="${RAY_DEDUP_LOGS:-0}" HYDRA_FULL_ERROR="${HYDRA_FULL_ERROR:-1}"
# A dozen processes import verl and vLLM; without compiled modules the start-up takes more than twice as long.
unset PYTHONDONTWRITEBYTECODE
# TransferQueue switches every process to eight threads (and says so, hundreds of lines a run) around every message.
export TQ_NUM_THREADS="${TQ_NUM_THREADS:-1}"
# Keeps vLLM's CPU backend from putting its model into a process of its own (vllm/platforms/cpu.py:147), which on two
# cores makes the steps of a small model longer; see distributed_executor_backend in overrides.args.
export VLLM_ENABLE_V1_MULTIPROCESSING="${VLLM_ENABLE_V1_MULTIPROCESSING:-0}"
