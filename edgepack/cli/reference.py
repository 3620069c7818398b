"""Writes `docs/cli.md` from the commands themselves: `python -m edgepack.cli.reference`.

With `--check` it writes nothing and fails where the file is out of date; a test does the same.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from edgepack.cli.main import cli

#: Help is wrapped to this width whatever the terminal.
_WIDTH = 96
_HEADER = """\
# Command line

Made from the commands' own help by `python -m edgepack.cli.reference`.

Exit codes: 0 success, 1 a bug, 2 wrong usage, 3 configuration or data, 4 a missing tool, package
or network, 5 conversion, 6 quality, 7 bundle, 8 device, 9 hub, 130 interrupted.
`edgepack --debug COMMAND …` adds the traceback of an error.
"""


def render_reference() -> str:
    """Returns the Markdown of every command's help."""
    sections = [_HEADER]
    top = click.Context(cli, info_name="edgepack", max_content_width=_WIDTH, **cli.context_settings)
    for context in _walk(top):
        context.terminal_width = _WIDTH
        text = context.command.get_help(context)
        sections.append(f"## `{context.command_path}`\n\n```text\n{_tidy(text)}\n```\n")
    return "\n".join(sections)


def main(path: Path, *, check: bool) -> int:
    """Writes or checks the file; returns the exit status."""
    text = render_reference()
    if check:
        return 0 if path.is_file() and path.read_text(encoding="utf-8") == text else 1
    path.write_text(text, encoding="utf-8")
    return 0


def _walk(context: click.Context) -> Iterator[click.Context]:
    yield context
    command = context.command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                yield from _walk(click.Context(child, info_name=name, parent=context))


def _tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.replace("\b", "").splitlines())


if __name__ == "__main__":
    sys.exit(main(Path("docs/cli.md"), check="--check" in sys.argv[1:]))
