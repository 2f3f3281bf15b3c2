#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes the GPU environment of this repository: a virtual environment with the packages of requirements/gpu.txt, pinned
# with their hashes (verl, vLLM, torch's CUDA 13 build, tools), flash-attn, and this project, editable; then checks it.
# Calling it again costs nothing; a set-up that was interrupted goes on where it was. docs/gpu.md says the rest.
#
#   bash examples/setup_gpu.sh                     # on the GPU machine
#   bash examples/setup_gpu.sh --no-flash-attn     # without flash-attn: slower; the launch scripts adapt by themselves
#   bash examples/setup_gpu.sh --without-device    # the same packages and every check that needs no GPU, on any machine
#
#   VENV               where the environment is made (default: .venv-gpu at the root of the repository)
#   PYTHON             the Python 3.12 to make it with (default: python3.12 or python3)
#   FLASH_ATTN         where flash-attn comes from: a wheel (file or address), a folder with wheels, or the address of
#                      an index; the wheel must be for Python 3.12, torch 2.11 and the CUDA of torch. "build", or not
#                      set on a GPU machine: it is built here, which needs nvcc and takes long (MAX_JOBS: compilers)
#   TORCH_WHEEL_INDEX  for a driver too old for CUDA 13: the address of an index, or a folder, with CUDA 12 builds of
#                      torch, torchvision, torchaudio and vllm in the pinned versions
set -euo pipefail

NAME=setup_gpu
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=${VENV:-$ROOT/.venv-gpu}
REQUIREMENTS=requirements/gpu.txt
VERSIONS="12"
FLASH_ATTN_VERSION=2.8.3                                  # what verl 0.9.1 pins
GIGABYTES=12                                              # the packages take 10, and pip keeps a download or two
source "$ROOT/examples/setup_common.sh"

DEVICE=1 FLASH=1
for argument in "$@"; do
    case $argument in
        --without-device) DEVICE=0 ;;
        --no-flash-attn) FLASH=0 ;;
        -h | --help) sed -n '3,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
        *) die "$argument is no option: it takes --without-device and --no-flash-attn" ;;
    esac
done

# --- what cannot work, before anything is installed
[ "$(uname -s) $(uname -m)" = "Linux x86_64" ] ||
    die "this machine is $(uname -s) $(uname -m): vLLM and flash-attn are pinned for Linux x86_64; on another one use verl's image, see docs/gpu.md"
FLASH_ATTN=${FLASH_ATTN:-$([ $DEVICE = 0 ] || echo build)}
if [ $DEVICE = 1 ]; then
    command -v nvidia-smi >/dev/null ||
        die "no GPU: nvidia-smi, which comes with NVIDIA's driver, is not found: install driver r580 or newer, or call this with --without-device"
    driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | head -n 1) || driver=
    [[ $driver =~ ^[0-9]+\. ]] ||
        die "no GPU: nvidia-smi is there and lists none (try it alone to see why), or call this with --without-device"
    if [ -z "${TORCH_WHEEL_INDEX:-}" ] && [ "${driver%%.*}" -lt 580 ]; then
        die "NVIDIA driver $driver is older than r580, which the CUDA 13 build of torch needs: update it, set TORCH_WHEEL_INDEX to CUDA 12 builds, or use verl's image with its own set, see docs/gpu.md"
    elif [ "${driver%%.*}" -lt 525 ]; then
        die "NVIDIA driver $driver is older than r525, which any CUDA 12 build of torch needs: update it"
    fi
fi
if [ $FLASH = 1 ] && [ "$FLASH_ATTN" = build ] && ! PATH=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin command -v nvcc >/dev/null; then
    die "flash-attn has no wheel on the package index and nvcc is not found to build it: set FLASH_ATTN to a wheel, install the CUDA 13 toolkit, or call this with --no-flash-attn (slower)"
fi
if [[ -n $FLASH_ATTN && $FLASH_ATTN != build && $FLASH_ATTN != *://* ]] && [ ! -e "$FLASH_ATTN" ]; then
    die "FLASH_ATTN=$FLASH_ATTN is no file, no folder and no address"
fi

settings=("device=$DEVICE" "flash=$FLASH $FLASH_ATTN" "torch=${TORCH_WHEEL_INDEX:-}")
if up_to_date "${settings[@]}"; then say "$VENV is up to date"; exit 0; fi
wait_for_other_setup
if up_to_date "${settings[@]}"; then say "$VENV is up to date"; exit 0; fi
find_python python3.12 python3
need_disk "$GIGABYTES" "$VENV"
make_environment "[1/5]"
read_sources
export UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-300}            # seconds; some of these files have a gigabyte

# --- the packages
LOCK=$ROOT/$REQUIREMENTS
say "[2/5] $(grep -c '^[a-z]' "$LOCK") pinned packages, about 10 GB"
if [ -z "${TORCH_WHEEL_INDEX:-}" ]; then
    install --require-hashes -r "$LOCK" || die "installing $REQUIREMENTS failed, see above; call this again to go on"
else
    # A build for another CUDA has other files and other libraries below it; the rest keeps its versions.
    OTHER=$VENV/.requirements-other-cuda.txt
    {
        grep -E -o '^(torch|torchvision|torchaudio|vllm)==[^ ]*' "$LOCK"
        grep -E -o '^[a-z0-9-]+==[^ ]*' "$LOCK" | grep -v -E '^(torch|torchvision|torchaudio|vllm|triton|cuda-.*|nvidia-.*)=='
    } > "$OTHER"
    install -r "$OTHER" || die "installing the builds of $TORCH_WHEEL_INDEX failed, see above"
fi

# --- flash-attn: its source build imports torch, so it comes last and sees this environment
flash=flash-attn==$FLASH_ATTN_VERSION
if [ $FLASH = 0 ]; then
    say "[3/5] without flash-attn: attn_implementation=sdpa, use_remove_padding=False (the launch scripts see to it)"
elif [ -z "$FLASH_ATTN" ]; then
    say "[3/5] flash-attn is left out: it cannot be checked without a GPU"
elif [ "$FLASH_ATTN" = build ]; then
    cores=$(nproc) memory=$(awk '/^MemTotal/ { print int($2 / 8000000) }' /proc/meminfo)       # a compiler takes up to 8 GB
    jobs=$((cores < memory ? cores : memory)); export MAX_JOBS=${MAX_JOBS:-$((jobs > 0 ? jobs : 1))}
    say "[3/5] building $flash with $MAX_JOBS compilers at once; FLASH_ATTN=a wheel saves the time"
    PATH=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin install --no-deps --no-build-isolation "$flash" ||
        die "building flash-attn failed, see above: set FLASH_ATTN to a wheel, MAX_JOBS lower, or call this with --no-flash-attn"
else
    say "[3/5] $flash from $FLASH_ATTN"
    case $FLASH_ATTN in
        *.whl) from=("$FLASH_ATTN") ;;
        *://*) from=(--only-binary flash-attn --extra-index-url "$FLASH_ATTN" "$flash") ;;
        *) from=(--only-binary flash-attn --find-links "$FLASH_ATTN" "$flash") ;;
    esac
    install --no-deps "${from[@]}" || die "FLASH_ATTN=$FLASH_ATTN gives no $flash that fits this Python, see above"
fi
say "[4/5] this project, editable"
install_project

# --- the self-check
say "[5/5] checks"
cd "$ROOT"
flags=()
if [ $DEVICE = 0 ]; then flags+=(--without-device); fi
if [ $FLASH = 0 ]; then flags+=(--no-flash-attn); fi
"$VENV/bin/python" -m recipe.tw_grpo.doctor.self_check ${flags[@]+"${flags[@]}"} ||
    die "the packages are in $VENV, but a check failed, see above; call this again when it is mended"
write_stamp "${settings[@]}"
size=$(du -sm "$VENV" | awk '{ printf "%.1f", $1 / 1000 }')
say "$VENV is ready after $SECONDS s, $size GB: $("$VENV/bin/python" --version), $(grep -E -o '^(torch|transformers|verl|vllm)==[^ ;]*' "$LOCK" | tr '\n' ' ')"
