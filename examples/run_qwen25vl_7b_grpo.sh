#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The GRPO baseline of run_qwen25vl_7b_twgrpo.sh: the same data, model, reward and settings with verl's own estimator.
# Without token weights nothing else is left to differ, except the normaliser: verl's token mean is over the whole batch,
# TW-GRPO's over each prompt (Eq. 6), so that long groups do not count more.
set -euo pipefail
ADV_ESTIMATOR=grpo exec bash "$(dirname "${BASH_SOURCE[0]}")/run_qwen25vl_7b_twgrpo.sh" "$@"
