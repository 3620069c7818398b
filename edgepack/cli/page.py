"""`--html FILE`: an answer as a page by itself. Used by `edgepack report`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.cli.field import now_ms
from edgepack.formats.errors import ConfigError

if TYPE_CHECKING:
    from edgepack.hub.answers.sheet import Answer, Sheet
    from edgepack.hub.sources.source import Source
    from edgepack.hub.sources.store import StoreSource

#: What a file gets whose maker did not say otherwise; the process's mask takes from it.
_MODE = 0o666


def write_page(
    path: Path,
    source: Source,
    ask: Callable[[Source], Sheet],
    ask_store: Callable[[StoreSource], Answer],
) -> None:
    """Asks, and writes the answer as a page.

    Args:
        path: The file; one that is there is replaced at once, never half.
        source: Who is asked.
        ask: Asks anyone; a hub was told to draw.
        ask_store: Asks a store, which gives what charts are drawn from.

    Raises:
        ConfigError: The file cannot be written.
        HubError: The source cannot answer.
    """
    from edgepack.hub.sources.store import StoreSource
    from edgepack.hub.web.standalone import standalone_report

    answer = ask_store(source) if isinstance(source, StoreSource) else ask(source)
    replace_file(path, standalone_report(answer, source=source.name, made_ms=now_ms()))


def replace_file(path: Path, data: bytes) -> None:
    """Writes a file so that whoever opens it sees all of it or what was there before.

    Raises:
        ConfigError: It cannot be written.
    """
    draft: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as stream:
            draft = Path(stream.name)
            stream.write(data)
        mask = os.umask(0)
        os.umask(mask)
        draft.chmod(_MODE & ~mask)
        os.replace(draft, path)
    except OSError as error:
        if draft is not None:
            draft.unlink(missing_ok=True)
        raise ConfigError(
            f"{path}: cannot be written: {error.strerror}", hint="name a file in a folder of yours"
        ) from error
