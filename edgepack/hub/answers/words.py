"""How setups, counts and facts of a context are said to people.

It is not aware of the store. Used by the answers, the pages and the command line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, cast

from edgepack.formats.options import EngineOptions
from edgepack.formats.typed import check_value, from_plain
from edgepack.hub.answers.rows import SetupRow

#: What differs between contexts, for people; a path that is not here is shown as it is.
FACT_TITLES: Final = {
    "box": "kind of box",
    "cpu": "CPU",
    "memory_gib": "memory in GiB",
    "gpu": "graphics card",
    "latency": "what the latency is of",
    "max_batch": "most rows of a call",
    "latency_bound_ns": "latency bound in ns",
}


def boxes(count: int) -> str:
    """Returns `1 box` or `12 boxes`."""
    return "1 box" if count == 1 else f"{count:,} boxes"


def options_words(setup: SetupRow) -> str:
    """Says how the engine was opened: `2 threads, spinning`."""
    if setup.options and not check_value(EngineOptions, setup.options, ""):
        return str(cast("EngineOptions", from_plain(EngineOptions, setup.options)))
    return "1 thread" if setup.threads == 1 else f"{setup.threads} threads"


def setup_words(setup: SetupRow) -> str:
    """Says what computed: `litert 2.1.0, tflite-dynamic-int8, 2 threads`."""
    return f"{setup.runtime} {setup.runtime_version}, {setup.variant}, {options_words(setup)}"


def flat_facts(facts: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Turns nested facts into paths and the text of their values.

    Args:
        facts: JSON's objects, lists and scalars.
        prefix: The path so far.

    Returns:
        Such as `{"box": "Pi 4", "method.duration": "quick"}`; `-` for null, a list as JSON.
    """
    flat: dict[str, str] = {}
    for key, value in facts.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat.update(flat_facts(value, f"{path}."))
        elif value is None:
            flat[path] = "-"
        elif isinstance(value, bool):
            flat[path] = "yes" if value else "no"
        elif isinstance(value, str):
            flat[path] = value
        else:
            flat[path] = json.dumps(value, ensure_ascii=False)
    return flat


def fact_title(path: str) -> str:
    """Returns a fact's path as people read it."""
    return FACT_TITLES.get(path, path.replace("_", " ").replace(".", ", "))
