"""Writes what tuning found into a folder, the values, the plots and a page, and reads it again.

Used by the command line.
"""

from __future__ import annotations

from pathlib import Path

from edgepack.build.tune.page import machine_words, render_page
from edgepack.build.tune.plot import draw
from edgepack.build.whole_file import whole_file
from edgepack.formats.errors import ConfigError
from edgepack.formats.tuning import MAX_TUNING_BYTES, TunedMachine, Tuning, parse_tuning


def load_tuning(path: Path) -> Tuning:
    """Reads a `tune.json`.

    Args:
        path: The file.

    Raises:
        ConfigError: It cannot be read, or is no tuning.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TUNING_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}", hint="`edgepack tune --out DIR` writes it"
        ) from error
    return parse_tuning(data, what=str(path))


def write_tuning(tuning: Tuning, out: Path) -> list[Path]:
    """Writes `tune.json`, `tune.html`, and `pareto.svg` and `.png`.

    Args:
        tuning: What was found; with several machines each has plots with its key in the name.
        out: The folder; it is made where it is not there.

    Returns:
        The files.

    Raises:
        ConfigError: It cannot be written.
        MissingExtraError: matplotlib is not installed.
    """
    files = {"tune.json": tuning.to_bytes()}
    drawings = {}
    for each in tuning.machines:
        if each.choice is None:
            continue
        stem = "pareto" if len(tuning.machines) == 1 else f"pareto-{each.machine.key}"
        title = _title(tuning, each)
        drawings[each.machine.key] = draw(each, title, tuning.quality_name, "svg")
        files[f"{stem}.svg"] = drawings[each.machine.key]
        files[f"{stem}.png"] = draw(each, title, tuning.quality_name, "png")
    files["tune.html"] = render_page(tuning, drawings)
    for name, data in files.items():
        with whole_file(out / name, mode=0o644) as file:
            file.write(data)
    return [out / name for name in files]


def _title(tuning: Tuning, ranked: TunedMachine) -> str:
    return f"{tuning.model} {tuning.model_version} for {tuning.target}, {machine_words(ranked)}"
