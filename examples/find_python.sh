# SPDX-License-Identifier: Apache-2.0
# What the launch scripts share. Sourced with ROOT, DRY_RUN and the script's own arguments, it sets
#   PYTHON     the Python with verl in it: the variable, an activated environment, this clone's .venv-gpu, or its .venv
#              where VERL_PLATFORM=cpu or nothing is started; else whatever `python` is
#   RECIPE     the folder `recipe` of this clone, or of the installed package where there is no clone
#   ATTENTION  overrides for an environment without flash-attn: PyTorch's own attention, on padded sequences

case $DRY_RUN in
    0 | 1 | compose | args) ;;
    *) echo "$(basename "$0" .sh): error: DRY_RUN=$DRY_RUN means nothing: set it to 1, compose or args, or unset it to start" >&2; exit 2 ;;
esac

find_python() {
    local cpu=${VERL_PLATFORM:-} activated=${VIRTUAL_ENV:-}${CONDA_PREFIX:-}
    if [ -n "${PYTHON:-}" ]; then return; fi
    if [ -z "${VIRTUAL_ENV:-}" ] && [ "${CONDA_DEFAULT_ENV:-}" = base ]; then activated=; fi    # conda's own, in every shell
    PYTHON=python
    if [ -n "$activated" ]; then return; fi
    if [ "$cpu" != cpu ] && [ -x "$ROOT/.venv-gpu/bin/python" ]; then
        PYTHON=$ROOT/.venv-gpu/bin/python
    elif [ -x "$ROOT/.venv/bin/python" ]; then
        if [ "$cpu" != cpu ] && [ "$DRY_RUN" = 0 ]; then
            echo "$(basename "$0" .sh): error: $ROOT/.venv is the CPU environment: make the GPU one with bash examples/setup_gpu.sh, activate another, or set VERL_PLATFORM=cpu" >&2
            exit 2
        fi
        PYTHON=$ROOT/.venv/bin/python
    fi
}

# verl's packed sequences (use_remove_padding) need flash-attn; on a CPU recipe/cpu_platform/overrides.args says the same.
find_attention() {
    ATTENTION=()
    if [ "${VERL_PLATFORM:-}" = cpu ] || [[ "$*" = *attn_implementation=* ]]; then return; fi
    if [ "$("$PYTHON" -c 'import importlib.util as u; print(bool(u.find_spec("torch")) > bool(u.find_spec("flash_attn")))' 2>/dev/null)" = True ]; then
        echo "$(basename "$0" .sh): flash-attn is not installed: attn_implementation=sdpa and use_remove_padding=False, which is slower" >&2
        ATTENTION=(
            +actor_rollout_ref.model.override_config.attn_implementation=sdpa
            actor_rollout_ref.model.use_remove_padding=False
        )
    fi
}

# The overrides of an .args file, one a line.
read_args() { grep -h -v -e '^#' -e '^$' "$@"; }

find_python
RECIPE=$ROOT/recipe
[ -d "$RECIPE/tw_grpo" ] || RECIPE=$("$PYTHON" -c 'import os, recipe.tw_grpo as p; print(os.path.dirname(*p.__path__))')
find_attention "$@"
