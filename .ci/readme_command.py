"""Prints one of the README's two commands, so that what is checked is what a reader would type."""

import re
import sys
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"


def main() -> None:
    (kind,) = sys.argv[1:]
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    commands = [line.strip() for block in blocks for line in block.splitlines()]
    found = [c for c in commands if c.startswith(f"cargo {kind}")]
    if not found:
        sys.exit(f"README.md has no `cargo {kind}` command")
    print(found[0])


main()
