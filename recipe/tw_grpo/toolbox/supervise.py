# SPDX-License-Identifier: Apache-2.0
"""Run a verl training command as a guest: progress with time left, an end that is always clean, errors one can read.

verl starts Ray, vLLM and a dozen processes, some of which leave the process group; whoever stops the command half-way
leaves them behind, and a vLLM worker that fails makes verl wait for ever. This module adopts every descendant and ends
them all, however the command ends. It knows nothing of the method or of the configuration.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
from tqdm import tqdm

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_FATAL = re.compile(r"WorkerProc hit an exception|EngineDeadError")
STALLED_AFTER = 900.0  # seconds without a line in the log or a step
_NOISE = re.compile(r"WARNING|UserWarning|warnings\.warn|FutureWarning|^\s*$")


def supervise(
    command: Sequence[str],
    *,
    log: Path,
    metrics: Path,
    steps: int,
    first: int = 0,
    patience: float = STALLED_AFTER,
    say: re.Pattern[str] | None = None,
) -> int:
    """Run `command` with its output in `log`; return its exit code, with no process left.

    Args:
        command: program and arguments.
        log: file that takes stdout and stderr; what it held is overwritten.
        metrics: JSON-lines file the command appends {"step": int, "data": {...}} to, for the progress bar.
        steps: the last step.
        first: steps already done before this start.
        patience: seconds without a line in the log or a step, after which the command is stopped.
        say: what it matches of a line of the log is printed to stderr, once.

    Returns:
        The command's exit code; 130 after Ctrl-C, 143 after SIGTERM, 1 when it was stopped because a worker had failed
        or nothing happened for so long. What went wrong is printed to stderr.
    """
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    stopped = 0

    def stop(number: int, _: object) -> None:
        nonlocal stopped
        stopped = 128 + number

    with contextlib.ExitStack() as stack:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            stack.callback(signal.signal, number, signal.signal(number, stop))
        output = stack.enter_context(log.open("wb"))
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # kill -9 of this process cannot be caught; Ray ends with the command in the same way.
            preexec_fn=lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0),
        )
        stack.callback(_end_descendants)
        reason = _watch(process, log, metrics, steps, first, patience, say, lambda: stopped)
    if stopped:
        print(f"stopped by signal {stopped - 128}; every process has ended", file=sys.stderr)
        return stopped
    code = process.returncode
    if reason:
        print(f"stopped: {reason}", file=sys.stderr)
        code = code if code and code > 0 else 1
    if code:
        _explain(log, code)
    return code


def _watch(process, log: Path, metrics: Path, steps: int, first: int, patience: float, say, stopped) -> str:
    """Show progress until the process ends or has to be ended; the reason for the latter, else ""."""
    interactive = sys.stderr.isatty()
    bar = tqdm(total=steps, initial=first, unit="step", mininterval=0.5 if interactive else 15, dynamic_ncols=True)
    bar.set_description("starting verl, Ray and vLLM (1 to 3 minutes)", refresh=True)
    log_lines, metric_lines = _follow(log), _follow(metrics)
    quiet_since, told = time.monotonic(), set()
    with contextlib.closing(bar):
        while process.poll() is None and not stopped():
            seen = list(log_lines.__next__())
            for match in filter(None, map(say.search, seen)) if say else ():
                if match.group() not in told:
                    told.add(match.group())
                    bar.write(re.sub(r"\x1b\[[0-9;]*m", "", match.group()), file=sys.stderr)
            for line in metric_lines.__next__():
                record = json.loads(line)
                bar.set_description("training", refresh=False)
                reward = record["data"].get("critic/score/mean")
                if reward is not None and record["step"] > bar.n:
                    bar.set_postfix_str(f"reward {reward:.2f}", refresh=False)
                    bar.update(record["step"] - bar.n)
                seen.append(line)
            # Behind the last step vLLM's engines may die before their servers do, which says the same and harms nobody.
            if bar.n < steps and any(_FATAL.search(line) for line in seen):
                return "a vLLM worker failed and verl would wait for it for ever"
            now = time.monotonic()
            quiet_since = now if seen else quiet_since
            if now - quiet_since > patience:
                return f"nothing happened for {patience / 60:.0f} minutes"
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.5)
        for line in metric_lines.__next__():
            bar.update(max(0, json.loads(line)["step"] - bar.n))
    return ""


def _follow(path: Path) -> Iterator[list[str]]:
    """Each `next` gives the whole lines that were appended since the last one."""
    position, rest = 0, ""
    while True:
        lines: list[str] = []
        if path.exists():
            with path.open("rb") as file:
                file.seek(position)
                data = file.read()
            position += len(data)
            *lines, rest = (rest + data.decode(errors="replace")).split("\n")
        yield lines


def _end_descendants(patience: float = 10.0) -> None:
    """Interrupt, then terminate, then kill everything this process has started, directly or not."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        children = psutil.Process().children(recursive=True)
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.send_signal(number)
        psutil.wait_procs(children, timeout=patience)
        with contextlib.suppress(ChildProcessError):  # orphans that were given to us
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not psutil.Process().children(recursive=True):
            return


def _explain(log: Path, code: int) -> None:
    """The user's mistake in its one line, or the end of the last traceback, from a log of thousands of lines."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in log.read_text(errors="replace").splitlines()]
    mistakes = [line for line in lines if "tw_grpo: error:" in line]
    if code == 2 and mistakes:
        print(mistakes[-1], file=sys.stderr)
        return
    starts = [number for number, line in enumerate(lines) if "Traceback (most recent call last)" in line]
    tail = [line for line in lines[starts[-1] if starts else 0 :] if not _NOISE.search(line)][-15:]
    print("\n".join(tail), f"\nexit code {code}; the whole log is {log}", file=sys.stderr)
