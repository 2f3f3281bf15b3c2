# SPDX-License-Identifier: Apache-2.0
"""Pages in one HTML file that load no address: styles, scripts and data stand inside, and a policy forbids the rest.

Whatever a model or a file says goes in as data, never as markup: JSON and base64 in blocks that no browser runs. Only
the scripts given here may run, by their hashes, so that a text which reached the markup by a mistake would still do
nothing.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

TEXT_ROOM, FRAME_ROOM = (
    8_000_000,
    4_000_000,
)  # bytes a page may hold of packed texts and of frames; in base64 a third more
LOOK = Path(__file__).parent / "page"  # what every page shares: look.css, look.js


def assets(*paths: Path) -> list[str]:
    """Texts of style or script files that come with the package."""
    return [path.read_text(encoding="utf-8") for path in paths]


def page(
    title: str,
    *,
    styles: Sequence[str],
    scripts: Sequence[str],
    data: Mapping[str, Any],
    blobs: Iterable[tuple[str, bytes]] = (),
    reach: str = "'none'",
) -> Iterator[str]:
    """Pieces of a page whose scripts build everything from its data.

    Args:
        title: text of the window's title.
        styles, scripts: in this order, behind those of LOOK.
        data: {id: value}; a script reads each with `look.json(id)`. Numbers have to be finite.
        blobs: (id, bytes); a script reads each with `look.bytes(id)`.
        reach: the policy's connect-src; "'self'" for a page that is served.
    """
    styles = [*assets(LOOK / "look.css"), *styles]
    scripts = [*assets(LOOK / "look.js"), *scripts]
    policy = (
        f"default-src 'none'; img-src data:; connect-src {reach}; base-uri 'none'; form-action 'none'; "
        f"style-src {_hashes(styles)}; script-src {_hashes(scripts)}"
    )
    yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield f'<title>{html.escape(title)}</title>\n<link rel="icon" href="data:,">\n'
    yield from (f"<style>{style}</style>\n" for style in styles)
    yield "</head>\n<body>\n<noscript>This page needs JavaScript. It loads nothing from anywhere.</noscript>\n"
    for name, value in data.items():
        yield f'<script type="application/json" id="{name}">{embedded(value)}</script>\n'
    for name, content in blobs:
        yield f'<script type="text/plain" id="{name}">{base64.b64encode(content).decode()}</script>\n'
    yield from (f"<script>{script}</script>\n" for script in scripts)
    yield "</body>\n</html>\n"


def packed(value: Any) -> bytes:
    """gzip of JSON, which a script reads with `look.unpacked`; the same value gives the same bytes."""
    return gzip.compress(json.dumps(value, separators=(",", ":")).encode(), 6, mtime=0)


def embedded(value: Any) -> str:
    """JSON in ASCII without any "<", so that nothing in it can end the block it stands in."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _hashes(texts: Sequence[str]) -> str:
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(t.encode()).digest()).decode()}'" for t in texts)
