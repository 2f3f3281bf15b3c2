# SPDX-License-Identifier: Apache-2.0
"""The launch scripts for somebody without a clone: `tw-grpo scripts DIR` writes them, with the rows of the paper.

They live in examples/; the folder `shell` beside this file holds links to them, which a wheel has as files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recipe.tw_grpo.toolbox.command_line import Parser, run_main
from recipe.tw_grpo.toolbox.errors import UserError

FOLDER = Path(__file__).with_name("shell")
LAUNCHERS = ("run_qwen25vl_7b_twgrpo.sh", "run_qwen25vl_7b_grpo.sh", "eval_qwen25vl_7b.sh")
NAMES = (*LAUNCHERS, "find_python.sh")


def sources() -> dict[str, Path]:
    """{path below DIR: file} of every script and of the rows of the paper."""
    return {name: FOLDER / name for name in NAMES} | {"paper/rows.yaml": FOLDER / "rows.yaml"}


def write(folder: Path) -> list[Path]:
    """Write the scripts and the rows below `folder` and return their paths; all or none.

    Raises:
        UserError: a file there has other contents; it is never overwritten.
    """
    contents = {folder / name: path.read_bytes() for name, path in sources().items()}
    for path, content in contents.items():
        if path.exists() and path.read_bytes() != content:
            raise UserError(f"{path} is there with other contents: name another folder, or move it away")
    for path, content in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return list(contents)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: `tw-grpo scripts DIR`."""
    parser = Parser(prog="tw-grpo scripts", description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path, metavar="DIR", help="where they are written; made if it is not there")
    args = parser.parse_args(argv)
    write(args.folder)
    print(f"DRY_RUN=1 bash {args.folder / LAUNCHERS[0]}")


if __name__ == "__main__":
    run_main(main)
