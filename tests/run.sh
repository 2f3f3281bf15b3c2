#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Sets everything up and runs the tests that need no GPU: mathematics and data, real pieces of verl, and one real
# training run of a few steps. Arguments go to pytest: `bash tests/run.sh tests/unit -k divergence`. The tests marked
# slow, which start verl again (resuming; the same run with and without the plugin), run with
# `bash tests/run.sh tests/e2e`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export VENV=${VENV:-$PWD/.venv}
bash examples/setup_cpu.sh
export PATH=$VENV/bin:$PATH
source recipe/cpu_platform/env.sh
if [ $# -gt 0 ]; then exec python -m pytest "$@"; fi
ruff check .
ruff format --check .
# Cheapest first, each in a process of its own: what one imports must not help the next.
python -m pytest tests/unit -m "not slow"
python -m pytest tests/verl -m "not slow"
python -m pytest tests/e2e -m "not slow" --durations=0
