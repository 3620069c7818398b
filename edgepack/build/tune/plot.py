"""Draws a machine's cells: latency against bytes and against quality, as SVG and PNG.

The only file that imports `matplotlib`. The same values give the same bytes. It is not aware of
how anything was measured. Used by `writing`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from edgepack.formats.errors import MissingExtraError
from edgepack.formats.tuning import TunedCell, TunedMachine
from edgepack.formats.variants import RuntimeName

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE_INCHES: Final = (12.0, 5.0)
_DOTS_PER_INCH: Final = 120
_FRONT, _BEHIND, _CHOSEN = "#0b5cad", "#8794a0", "#a34a00"
_MARKERS: Final = {
    RuntimeName.LITERT: "o",
    RuntimeName.TFLITE_RUNTIME: "^",
    RuntimeName.ONNXRUNTIME: "s",
    RuntimeName.ONNXRUNTIME_GPU: "D",
}
_KILO: Final = 1e3
_NS_PER_US: Final = 1000
#: Above this ratio of the slowest to the fastest a logarithmic axis shows more.
_WIDE: Final = 8


def check_plotting() -> None:
    """Finds out before minutes of work that nothing can be drawn.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("matplotlib", "tune", "drawing the plots of --out") from error


def draw(ranked: TunedMachine, title: str, quality_name: str, kind: Literal["svg", "png"]) -> bytes:
    """Draws what was measured on one machine.

    Args:
        ranked: Its ranking; a number beside a point is its row, from 1.
        title: What the plot is called.
        quality_name: What the cells' quality is.
        kind: The file's format.

    Returns:
        The file; the same values give the same bytes.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    check_plotting()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    cells = [each for each in ranked.cells if each.p50_ns is not None]
    # Without the salt the ids in an SVG are drawn by chance.
    with mpl.rc_context({"svg.hashsalt": "edgepack", "font.size": 9}):
        figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
        figure.suptitle(title)
        sizes, qualities = figure.subplots(1, 2)
        _plot(sizes, ranked, cells, [each.size_bytes / _KILO for each in cells])
        sizes.set_ylabel("model file, kB")
        known = [each for each in cells if each.quality is not None]
        _plot(qualities, ranked, known, [each.quality or 0.0 for each in known])
        qualities.set_ylabel(quality_name)
        handles, labels = sizes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels) or 1)
        data = io.BytesIO()
        metadata: Any = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(data, format=kind, dpi=_DOTS_PER_INCH, metadata=metadata)
    return data.getvalue()


def _plot(
    axes: Axes, ranked: TunedMachine, cells: Sequence[TunedCell], values: Sequence[float]
) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xlabel("latency, µs: point p50, line to p90")
    axes.grid(visible=True, alpha=0.3)
    shown = [value or 0 for each in cells for value in (each.p50_ns, each.p90_ns)]
    if shown and max(shown) > _WIDE * min(shown) > 0:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    numbers: dict[tuple[str, str], tuple[tuple[float, float], list[str]]] = {}
    for cell, value in zip(cells, values, strict=True):
        chosen = cell is ranked.choice
        colour = _CHOSEN if chosen else _FRONT if cell.on_front else _BEHIND
        x = (cell.p50_ns or 0) / _NS_PER_US
        axes.plot([x, (cell.p90_ns or 0) / _NS_PER_US], [value, value], color=colour, alpha=0.35)
        axes.scatter(
            [x], [value],
            marker="*" if chosen else _MARKERS[cell.runtime],
            s=150 if chosen else 40,
            color=colour if cell.on_front or chosen else "none",
            edgecolors=colour,
            label=_label(cell, axes, chosen=chosen),
            zorder=3 if chosen else 2,
        )  # fmt: skip
        if cell.on_front or chosen:
            # Points that lie on each other share a label.
            near = (f"{x:.2g}", f"{value:.3g}")
            _, rows = numbers.setdefault(near, ((x, value), []))
            rows.append(str(ranked.cells.index(cell) + 1))
    for place, rows in numbers.values():
        axes.annotate(", ".join(rows), place, textcoords="offset points", xytext=(6, 6))


def _label(cell: TunedCell, axes: Axes, *, chosen: bool) -> str | None:
    """Names a point for the legend, once for each look."""
    if chosen:
        text = "chosen"
    else:
        text = f"{cell.runtime}, {'on the front' if cell.on_front else 'another is better'}"
    _, known = axes.get_legend_handles_labels()
    return None if text in known else text
