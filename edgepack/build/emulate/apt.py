"""Reads where the host's own apt gets a suite from.

It is not aware of roots. Used by `edgepack.build.emulate.root`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

APT_DIR: Final = Path("/etc/apt")
_ONE_LINE: Final = re.compile(r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<rest>.+)")


def find_sources(suite: str, apt: Path = APT_DIR) -> tuple[str, ...]:
    """Returns the one-line sources of a suite, its updates and its security fixes.

    Args:
        suite: Such as `bookworm`.
        apt: The folder of apt's settings.

    Returns:
        Lines as mmdebstrap takes them, in the host's order; empty when the host is not of
        that suite, and mmdebstrap then asks Debian's own mirrors.
        Source: sources.list(5), both formats.
    """
    wanted = (suite, f"{suite}-updates", f"{suite}-security")
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
    found: dict[str, None] = {}
    for file in files:
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        lines = _deb822(text, wanted) if file.suffix == ".sources" else _one_line(text, wanted)
        found.update(dict.fromkeys(lines))
    # Without the suite itself the updates alone are of no use.
    complete = any(f" {suite} " in line for line in found)
    return tuple(found) if complete else ()


def _one_line(text: str, wanted: tuple[str, ...]) -> Iterator[str]:
    for raw in text.splitlines():
        match = _ONE_LINE.fullmatch(raw.split("#")[0].strip())
        if match is None:
            continue
        suite, _, components = match["rest"].partition(" ")
        signed = re.search(r"signed-by=(\S+)", match["options"] or "")
        if suite in wanted and "main" in components.split():
            yield _line(match["uri"], suite, signed[1] if signed else "")


def _deb822(text: str, wanted: tuple[str, ...]) -> Iterator[str]:
    for block in re.split(r"\n\s*\n", text):
        fields = _fields(block)
        usable = "deb" in fields.get("types", "").split() and fields.get("enabled", "yes") != "no"
        if not usable or "main" not in fields.get("components", "").split():
            continue
        signed = fields.get("signed-by", "")
        # A key may be written into the file itself, over many lines; apt's own will do.
        key = signed if signed.startswith("/") else ""
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                if suite in wanted:
                    yield _line(uri, suite, key)


def _fields(block: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    name = ""
    for line in block.splitlines():
        if line.startswith("#"):
            continue
        if line[:1].isspace() and name:
            found[name] += f" {line.strip()}"
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            found[name] = value.strip()
    return found


def _line(uri: str, suite: str, key: str) -> str:
    options = f"[signed-by={key}] " if key else ""
    return f"deb {options}{uri} {suite} main"
