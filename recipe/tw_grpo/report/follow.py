# SPDX-License-Identifier: Apache-2.0
"""`tw-grpo report RUN --follow`: the page of runs that are still training, served to this machine alone.

A thread reads what has become new; the page asks for it and for single groups and frames, so nothing is left out here.
The server answers on the loopback address, and only to who calls it by that name: a page of another site that points
its own name at this address gets nothing.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Sequence
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from recipe.tw_grpo.report.html import digest_of, frames_of, heads_of, page_of, read_for_page
from recipe.tw_grpo.report.reading import Files, Run, read_rows
from recipe.tw_grpo.report.samples import Digest, group_rows
from recipe.tw_grpo.toolbox.errors import UserError

_EVERY = 1.0  # seconds between two looks at the files
ADDRESS = "127.0.0.1"


class Live:
    """What the server knows of its runs; `refresh` brings it up to date, everything else may be called meanwhile."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = list(folders)
        self._files = {folder: Files() for folder in self._folders}
        self._states: dict[Path, Any] = {}
        self._lock = threading.Lock()  # of tokenizers, decoders and the files' caches
        self._tools: dict[Path, Any] = {}
        self._read: dict[Path, Any] = {}
        self.runs: list[Run] = []
        self.heads: list[dict[str, Any]] = []
        self.waiting: list[str] = []
        self.version = 0
        self._rows = lru_cache(maxsize=8)(self._read_rows)

    def refresh(self) -> bool:
        """Read what has changed; whether anything has."""
        states = {folder: _state(folder) for folder in self._folders}
        if states == self._states:
            return False
        with self._lock:
            self.waiting = []
            for folder in self._folders:
                if states[folder] != self._states.get(folder):
                    try:
                        self._read[folder] = read_for_page(folder, len(self._folders), self._files[folder])
                    except UserError as error:  # no step yet, or a file that is being written
                        self.waiting.append(str(error))
            read = [self._read[folder] for folder in self._folders if folder in self._read]
            self.runs, self.heads = [run for run, _ in read], heads_of(read)
        self._states = states
        self.version += 1
        return True

    def head(self) -> dict[str, Any]:
        """The page's data, without texts."""
        return {"runs": self.heads, "waiting": self.waiting}

    def group(self, number: int, step: int, place: int) -> bytes:
        """One group as `Digest.pack` gives it.

        Raises:
            LookupError: there is no such group.
        """
        run = self.runs[number]
        path = run.folder / "rollouts" / f"{step}.jsonl"
        if step not in run.digests or not path.is_file():
            raise LookupError(path)
        with self._lock:
            rows = group_rows(self._rows(number, path, path.stat().st_mtime_ns), place)
            return self._tool(run)[0].pack(rows)

    def strip(self, number: int, step: int, place: int) -> dict[str, Any]:
        """The frames of one group.

        Raises:
            LookupError: there is no such group, or there are no frames of it.
        """
        run = self.runs[number]
        group = run.digests[step].groups[place]
        with self._lock:
            frames = self._tool(run)[1]
            entry = frames.entry(group.index, group.prompt) if group.index else None
            strip = frames.strip(entry) if entry else None
        if strip is None:
            raise LookupError(place)
        return strip

    def _read_rows(self, number: int, path: Path, _: int) -> Any:
        run = self.runs[number]
        return read_rows(Run(run.folder, run.settings, run.reward), path)

    def _tool(self, run: Run) -> tuple[Digest, Any]:
        if run.folder not in self._tools:
            self._tools[run.folder] = digest_of(run, 0), frames_of(run)
        return self._tools[run.folder]


class Handler(BaseHTTPRequestHandler):
    """GET /, /version, /head, /group/RUN/STEP/NUMBER and /strip/RUN/STEP/NUMBER; nothing else is answered."""

    live: Live

    def do_GET(self) -> None:
        """Answer one request."""
        if self.headers.get("Host", "").rpartition(":")[0] not in (ADDRESS, "localhost"):
            return self._answer(403, "text/plain", b"this server answers to 127.0.0.1 and localhost only")
        try:
            kind, content = self._content()
        except (LookupError, ValueError, OSError, UserError):
            return self._answer(404, "text/plain", b"not here")
        return self._answer(200, kind, content)

    def _content(self) -> tuple[str, bytes]:
        name, *numbers = self.path.strip("/").split("/")
        if not name and not numbers:
            return "text/html; charset=utf-8", "".join(page_of(None, {}, (), served=True)).encode()
        if name == "version" and not numbers:
            return "application/json", json.dumps({"version": self.live.version}).encode()
        if name == "head" and not numbers:
            return "application/json", json.dumps(self.live.head(), allow_nan=False).encode()
        run, step, place = map(int, numbers)
        if min(run, place) < 0:
            raise LookupError(place)
        if name == "group":
            return "application/octet-stream", self.live.group(run, step, place)
        if name == "strip":
            return "application/json", json.dumps(self.live.strip(run, step, place)).encode()
        raise LookupError(name)

    def _answer(self, code: int, kind: str, content: bytes) -> None:
        self.send_response(code)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(content))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing: the terminal shows the run."""


def follow(folders: Sequence[Path], port: int = 0) -> None:
    """Serve the page of some runs until Ctrl-C, and show on the terminal how far they are.

    Raises:
        UserError: a folder is not there or holds no run, or the port is taken.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: there is no such folder yet; give the output folder of a run")
        if not (folder / "run.json").is_file() and not (folder / "rollouts").is_dir():
            raise UserError(f"{folder} holds no run: neither run.json nor rollouts/ is in it")
    live = Live(folders)
    handler = type("Handler", (Handler,), {"live": live})
    try:
        server = ThreadingHTTPServer((ADDRESS, port), handler)
    except OSError as error:
        raise UserError(f"--port {port}: {error.strerror}; leave it out for a free one") from None
    server.daemon_threads = True
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs without it
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://{ADDRESS}:{server.server_port}/   Ctrl-C ends it; the run goes on", flush=True)
    try:
        _watch(live)
    except KeyboardInterrupt:
        print("stopped; a whole page is written by the same command without --follow", flush=True)
    finally:
        server.shutdown()
        server.server_close()


def _watch(live: Live) -> None:
    """Refresh for ever; a table that stays in its place on a terminal, a line for each new step elsewhere."""
    pause, shown = threading.Event(), ""
    if not sys.stdout.isatty():
        while True:
            if live.refresh() and (text := "; ".join(" ".join(row) for row in _progress(live))) != shown:
                shown = text
                print(shown, flush=True)
            pause.wait(_EVERY)
    from rich.live import Live as Screen

    with Screen(auto_refresh=False) as screen:
        while True:
            if live.refresh():
                screen.update(_table(live), refresh=True)
            pause.wait(_EVERY)


def _progress(live: Live) -> list[list[str]]:
    """Name, step, reward, soft accuracy and time left of each run; what is waited for where there is no step yet."""
    rows = []
    for head in live.heads:
        shown = {"reward": "reward", "soft_acc": "soft", "dead_group_rate": "dead"}
        last = {name: head["series"][series][-1] for series, name in shown.items()}
        numbers = [f"{name} {value:.3f}" for name, value in last.items() if value is not None]
        of = f" of {head['steps_asked']}" if head["steps_asked"] else ""
        left = head["seconds_left"]
        time = "" if left is None else f"{int(left // 3600)}:{int(left % 3600 // 60):02d}:{int(left % 60):02d} left"
        rows.append([head["name"], f"step {head['last_step']}{of}", *numbers, time])
    return rows or [["no step is finished yet"]]


def _table(live: Live) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False)
    for row in _progress(live):
        table.add_row(*(Text(cell, no_wrap=True) for cell in row))
    return table


def _state(folder: Path) -> tuple[Any, ...]:
    """What tells that files of a run have changed."""
    stats = []
    for pattern in ("run.json", "rollouts/*.jsonl", "metrics/*.jsonl"):
        for path in sorted(folder.glob(pattern)):
            try:
                stat = path.stat()
            except FileNotFoundError:  # moved aside meanwhile
                continue
            stats.append((str(path), stat.st_mtime_ns, stat.st_size))
    return tuple(stats)
