"""Writes what tuning found as one HTML file that needs nothing else: no script, no link.

It is not aware of files. Used by `writing`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from edgepack.formats.tuning import TunedCell, TunedMachine, Tuning

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1280px; padding: 12px 20px;
  color: #16202a; background: #fff; }
h1 { font-size: 24px; } h2 { font-size: 19px; margin-top: 28px; }
.choice { background: #e7f5ea; border-left: 5px solid #1a6b34; padding: 8px 12px; }
.none { background: #fdeceb; border-left: 5px solid #b3201c; padding: 8px 12px; }
.scroll { overflow-x: auto; } figure { margin: 12px 0; } figure svg { width: 100%; height: auto; }
table { border-collapse: collapse; font-size: 14px; width: 100%; }
th, td { text-align: left; padding: 4px 8px; border-bottom: 1px solid #cfd7de; }
td { white-space: nowrap; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
td.long { white-space: normal; min-width: 200px; }
tr.chosen { background: #e7f5ea; font-weight: 600; } tr.out { color: #4c5a67; }
.note { color: #4c5a67; font-size: 14px; }
"""
_COLUMNS: Final = (
    ("", "n"), ("runtime", ""), ("variant", ""), ("options", ""), ("p50", "n"), ("p90", "n"),
    ("p90, 99 % sure", "n"), ("p99", "n"), ("times the fastest", "n"), ("model", "n"),
    ("with runtime", "n"), ("quality", "n"), ("", ""),
)  # fmt: skip
_NOTES: Final = (
    "p50, p90 and p99 are nearest-rank percentiles from item ids to item ids, one query after the "
    "other (SingleStream); “99 % sure” is MLPerf's early-stopping estimate. “Times the fastest” is "
    "the median of what a row took as a multiple of the fastest in the same round, with the "
    "interval that holds it at 99 % confidence. On the front: no other row is better in one of "
    "p50, p90, bytes and quality and as good in all."
)


def render_page(tuning: Tuning, drawings: Mapping[str, bytes]) -> bytes:
    """Writes the page.

    Args:
        tuning: What was found.
        drawings: Each machine's plot as SVG, by its key.

    Returns:
        HTML, UTF-8.
    """
    title = f"{tuning.model} {tuning.model_version} for {tuning.target}"
    parts = [
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width, initial-scale=1'>",
        "<meta http-equiv=Content-Security-Policy "
        "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">",
        f"<title>{escape(title)} - edgepack tune</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(tuning.created)}, edgepack {escape(tuning.edgepack)}, "
        f"{tuning.duration}: {tuning.rounds} rounds, each with every row on the same machine. "
        f"Quality is {escape(tuning.quality_name)}. Rows within {100 * tuning.margin:g} % of the "
        "fastest, or not to be told from it, count as equally fast.</p>",
    ]
    for each in tuning.machines:
        parts += _machine(each, drawings.get(each.machine.key))
    parts += _left_out(tuning)
    parts.append(f"<p class=note>{_NOTES}</p></body></html>\n")
    return "".join(parts).encode("utf-8", "replace")


def machine_words(ranked: TunedMachine) -> str:
    """Says in a line what a machine is."""
    device = ranked.machine.device
    facts = [
        device.board,
        device.cpu_model,
        None if device.cores_allowed is None else f"{device.cores_allowed} cores",
        device.kernel and f"kernel {device.kernel}",
        f"Python {device.python}",
    ]
    return ", ".join(str(each) for each in facts if each)


def _machine(ranked: TunedMachine, drawing: bytes | None) -> list[str]:
    choice = ranked.choice
    parts = [f"<h2>{escape(machine_words(ranked))}</h2>"]
    if choice is None:
        parts.append(f"<p class=none>{escape(ranked.reason)}</p>")
    else:
        parts.append(f"<p class=choice>{escape(choice.label)}: {escape(ranked.reason)}.</p>")
    if ranked.reservations:
        parts.append(
            f"<p class=note>Reservations: {escape(', '.join(ranked.reservations))} "
            "(docs/benchmarking.md says what each means).</p>"
        )
    if drawing is not None:
        # What comes before the element, an XML declaration, has no place within HTML.
        svg = drawing[drawing.index(b"<svg") :].decode()
        parts.append(
            f"<figure role=img aria-label='Latency against bytes and quality'>{svg}</figure>"
        )
    head = "".join(f"<th class='{style}'>{escape(name)}</th>" for name, style in _COLUMNS)
    rows = [_row(i + 1, each, chosen=each is choice) for i, each in enumerate(ranked.cells)]
    parts.append(
        f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}"
        "</tbody></table></div>"
    )
    return parts


def _row(number: int, cell: TunedCell, *, chosen: bool) -> str:
    texts = [
        str(number), str(cell.runtime), cell.variant, str(cell.options), us(cell.p50_ns),
        us(cell.p90_ns), us(cell.p90_early_ns), us(cell.p99_ns), times(cell),
        f"{cell.size_bytes:,}", f"{cell.bundle_bytes:,}",
        "-" if cell.quality is None else f"{cell.quality:.4f}", remark(cell, chosen=chosen),
    ]  # fmt: skip
    styles = [*(style for _, style in _COLUMNS[:-1]), "long"]
    tds = "".join(
        f"<td class='{style}'>{escape(text)}</td>"
        for text, style in zip(texts, styles, strict=True)
    )
    kind = "chosen" if chosen else "out" if cell.problem else ""
    return f"<tr class='{kind}'>{tds}</tr>"


def _left_out(tuning: Tuning) -> Sequence[str]:
    if not tuning.left_out:
        return ()
    rows = "".join(
        f"<tr><td>{escape(str(each.runtime))}</td><td>{escape(each.variant)}</td>"
        f"<td>{escape(each.verdict)}</td><td class=long>{escape(each.reason)}</td></tr>"
        for each in tuning.left_out
    )
    return ("<h2>Not measured</h2><div class=scroll><table><tbody>", rows, "</tbody></table></div>")


def us(duration_ns: int | None) -> str:
    """Writes a latency; a dash where it cannot be told."""
    return "-" if duration_ns is None else f"{duration_ns / 1000:,.1f} µs"


def times(cell: TunedCell) -> str:
    """Writes how much longer a cell takes than the fastest, with its interval."""
    if cell.relative is None:
        return "-"
    if cell.low is None or cell.high is None:
        return f"{cell.relative:.2f}"
    return f"{cell.relative:.2f} ({cell.low:.2f} to {cell.high:.2f})"


def remark(cell: TunedCell, *, chosen: bool) -> str:
    """Writes what is to be said of a cell."""
    if cell.problem is not None:
        return cell.problem
    words = [
        "chosen" if chosen else "as fast" if cell.as_fast else "",
        "on the front" if cell.on_front else "",
        "" if cell.valid else "too few queries or rounds",
    ]
    return ", ".join(each for each in words if each)
