# SPDX-License-Identifier: Apache-2.0
# What setup_cpu.sh and setup_gpu.sh share: finding a Python, making the environment, installing into it from where pip
# installs. The script that sources this first sets NAME (of the script), ROOT (of the repository), VENV, REQUIREMENTS (a
# file below ROOT) and VERSIONS (the minor versions of Python 3 that fit), then calls the functions in this order.

SECONDS=0
STAMP=$VENV/.tw-grpo-setup

say() { echo "$NAME: $*" >&2; }
die() { say "$*"; exit 2; }

# --- nothing to do? The stamp is written last, and holds everything that decides what is installed.
fingerprint() {                                           # arguments: what else decides
    { echo "$ROOT" "$@"; cat "$ROOT/$REQUIREMENTS" "$ROOT/pyproject.toml" "${BASH_SOURCE[0]}" "$0"; } | cksum
}
up_to_date() { [ -x "$VENV/bin/python" ] && [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$(fingerprint "$@")" ]; }
wait_for_other_setup() {                                  # a second set-up of this checkout waits for the first
    if command -v flock >/dev/null; then exec 9<"$ROOT"; flock 9; fi
}
write_stamp() { fingerprint "$@" > "$STAMP.part" && mv "$STAMP.part" "$STAMP"; }

# --- a Python that the pinned packages support
fits() { "$1" -c 'import sys; sys.exit(sys.version_info[0] != 3 or str(sys.version_info[1]) not in sys.argv[1:])' $VERSIONS >/dev/null 2>&1; }
find_python() {                                           # arguments: names to try when PYTHON names none
    local candidate wanted version
    wanted=$(printf ' or 3.%s' $VERSIONS); wanted="Python ${wanted# or }"
    if [ -n "${PYTHON:-}" ]; then
        fits "$PYTHON" || die "PYTHON=$PYTHON is not a $wanted, which the packages pinned in $REQUIREMENTS need"
    else
        for candidate in "$@"; do
            if fits "$candidate"; then PYTHON=$candidate; break; fi
        done
        if [ -z "${PYTHON:-}" ] && command -v pyenv >/dev/null; then      # its python3.X exists and refuses to run
            for version in $VERSIONS; do
                candidate=$(pyenv prefix "3.$version" 2>/dev/null)/bin/python
                if fits "$candidate"; then PYTHON=$candidate; break; fi
            done
        fi
        [ -n "${PYTHON:-}" ] || die "needs $wanted, found $(python3 --version 2>/dev/null || echo none): install one, or name it: PYTHON=/path/to/python3.${VERSIONS%% *}"
    fi
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
        die "$PYTHON cannot make virtual environments (no ensurepip): install it (Debian, Ubuntu: apt-get install python3-venv) or name another one: PYTHON=..."
}

# --- the environment, and uv in it (fast); without uv, pip does the same
need_disk() {                                             # arguments: GB a new environment needs, where it is counted
    local free_kb place=$2
    until [ -d "$place" ]; do place=$(dirname "$place"); done
    free_kb=$(df -Pk "$place" | awk 'NR == 2 { print $4 }')
    if [ ! -e "$VENV" ] && [ "$free_kb" -lt $(($1 * 1000000)) ]; then die "$2 needs $1 GB, $((free_kb / 1000000)) GB are free there"; fi
}
make_environment() {
    mkdir -p "$(dirname "$VENV")"
    rm -f "$STAMP"
    if ! fits "$VENV/bin/python" || ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
        if [ -e "$VENV" ] && [ ! -f "$VENV/pyvenv.cfg" ] && [ -n "$(ls -A "$VENV" 2>/dev/null)" ]; then
            die "$VENV exists and is no virtual environment: remove it, or choose another place: VENV=..."
        fi
        say "$1 $("$PYTHON" --version) -> $VENV"
        "$PYTHON" -m venv --clear "$VENV"
    fi
    PIP=("$VENV/bin/python" -m pip --disable-pip-version-check)
    "$VENV/bin/python" -c 'import uv' 2>/dev/null || "${PIP[@]}" install -qq uv 2>/dev/null || say "uv cannot be had: using pip, which is slower"
}

# --- where packages come from. pip reads its own configuration; uv does not, so it is told what pip would use.
read_sources() {                                          # sets INSTALL
    local line
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
}
install() {                                               # progress bars on a terminal, short lines elsewhere
    if [ -t 2 ]; then "${INSTALL[@]}" "$@"; else "${INSTALL[@]}" "$@" 2>&1 | { grep -v -E '^ [-+~] |^Downloading|^ Downloaded|^Using Python' >&2 || true; }; fi
}
install_project() {
    install --no-deps --no-build-isolation -e "$ROOT" || die "installing the project itself failed, see above"
}
