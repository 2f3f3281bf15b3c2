#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Everything worth measuring when a GPU is at hand, in under 10 minutes and without a network:
#   bash tests/gpu/run.sh [FOLDER for measurements.json and table.md; the default is tests/gpu/out]
# It needs a Python with torch (PYTHON, default python3) and this repository, nothing else. What is missing is skipped
# by name.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=${1:-tests/gpu/out}
mkdir -p "$out"
# By path: verl's wheel installs a package named tests, which would be found first.
PYTHONPATH=. exec timeout 590 "${PYTHON:-python3}" tests/gpu/part1.py --out "$out"
