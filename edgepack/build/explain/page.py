"""Writes an explanation as one HTML file: no script, nothing from elsewhere.

Layer and tensor names come from a user's own model and may hold anything, so every text goes
through `_text`. It is not aware of how anything was measured. Used by the command line.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Final

from edgepack.build.explain.damage import Damage
from edgepack.build.explain.explanation import Explanation, LayerRow
from edgepack.build.explain.subject import SeenTensor
from edgepack.build.explain.timing import Span

#: What no page may hold as it is; a name of these would end a line or hide what follows.
_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]")
_QUOTED: Final = re.compile(r"`([^`]+)`")
_NONE: Final = '<span class="none">-<span class="hidden"> not measured</span></span>'


def write_page(found: Explanation) -> bytes:
    """Writes the page.

    Args:
        found: The explanation.

    Returns:
        HTML, UTF-8.
    """
    title = _text(f"{found.variant} of {found.model} {found.model_version}, layer by layer")
    style = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>{title}</title><style>{style}</style></head><body>",
        '<a class="skip" href="#main">Skip to the content</a>',
        f"<header><h1>{title}</h1>{_facts(found)}</header>",
        '<main id="main" tabindex="-1">',
        "<section><h2>What it comes to</h2><ul>",
        *(f"<li>{_sentence(each)}</li>" for each in found.words),
        "</ul></section>",
        _layers(found),
        _tensors(found),
        _notes(found),
        "</main></body></html>",
    ]
    # A name may hold half a character; no file of UTF-8 can.
    return "\n".join(parts).encode("utf-8", "replace")


def _facts(found: Explanation) -> str:
    facts = [
        ("File", f"{found.size_bytes / 1000:.1f} kB, sha256 {found.sha256[:12]}"),
        ("Held-out inputs", str(found.rows)),
        *(
            [("Call on this host", f"{found.time.call.ns / 1000:.1f} µs, {found.time.machine}")]
            if found.time
            else []
        ),
    ]
    rows = "".join(f"<div><dt>{_text(a)}</dt><dd>{_text(b)}</dd></div>" for a, b in facts)
    return f"<dl>{rows}</dl>"


def _layers(found: Explanation) -> str:
    ranks = found.kind == "recommender"
    lost = "overlap@10 lost" if ranks else "mean error, share of range"
    first = "best item changed" if ranks else "largest element changed"
    heads = ("layer", f"{lost}, it alone", first, f"{lost}, all but it", "file, it in float",
             "own rounding", "time of a call")  # fmt: skip
    most = max((row.alone.lost for row in found.layers if row.alone), default=0.0)
    rows = [_layer(row, found, most) for row in found.layers]
    return _table("layers", "Layers, those with the most damage first", heads, rows)


def _layer(row: LayerRow, found: Explanation, most: float) -> str:
    alone, without = row.alone, row.without
    kinds = ", ".join(dict.fromkeys(row.operators))
    note = "" if row.quantised else '<span class="tag">float</span>'
    note += f'<span class="why">{_text(row.reason)}</span>' if row.reason else ""
    cells = [
        _lost(alone, most),
        _share(alone.first_changed if alone else None),
        f"{without.lost:.4f}" if without else _NONE,
        _text(f"{row.growth_bytes / 1000:+.1f} kB") if row.growth_bytes is not None else _NONE,
        f"{row.own_sqnr_db:.1f} dB" if row.own_sqnr_db is not None else _NONE,
        _time(row.time, found),
    ]
    head = f'{_code(row.name)} {note}<span class="kinds">{_text(kinds)}</span>'
    return _row(head, cells)


def _lost(damage: Damage | None, most: float) -> str:
    if damage is None:
        return _NONE
    return f"{damage.lost:.4f} ± {damage.lost_error:.4f}{_bar(damage.lost, most)}"


def _time(span: Span | None, found: Explanation) -> str:
    if span is None or found.time is None:
        return _NONE
    if span.low_ns <= 0:
        return "about 0"
    call = found.time.call.ns
    interval = f"{span.low_ns / 1000:.1f} to {span.high_ns / 1000:.1f}"
    text = f"{span.ns / 1000:.1f} µs, {span.ns / call:.0%}"
    return f'{text}<span class="why">{interval} µs</span>{_bar(span.ns, call)}'


def _tensors(found: Explanation) -> str:
    seen = [each for each in found.tensors if each.figures.own_sqnr_db is not None]
    ordered = sorted(seen, key=lambda each: each.figures.own_sqnr_db or 0.0)
    heads = ("tensor", "layer", "type", "own rounding", "as it arrives", "mean error",
             "beyond the range", "levels used")  # fmt: skip
    table = _table(
        "tensors",
        "Quantised tensors, those that lose most by themselves first",
        heads,
        [_tensor(each) for each in ordered],
    )
    others = len(found.tensors) - len(seen)
    return f"{table}<p>{others} tensors in float are in the JSON.</p>"


def _tensor(tensor: SeenTensor) -> str:
    figures = tensor.figures
    shape = " by ".join(str(n) for n in tensor.shape)
    cells = [
        _code(tensor.layer),
        _text(f"{tensor.dtype} {shape}"),
        f"{figures.own_sqnr_db:.1f} dB" if figures.own_sqnr_db is not None else _NONE,
        f"{figures.sqnr_db:.1f} dB" if figures.sqnr_db is not None else _NONE,
        _share(figures.mean_error),
        _share(figures.saturated),
        f"{figures.levels} of {figures.levels_possible}",
    ]
    return _row(f'{_code(tensor.name)}<span class="kinds">{_text(tensor.role)}</span>', cells)


def _notes(found: Explanation) -> str:
    notes = [
        "Damage: the variant's own scales and weights put into the fp32 graph for one layer "
        "alone, and taken out of the variant for all but it; both run on the host's runtime, "
        "against the fp32 graph's answers. ± is a 95 % interval over inputs.",
        "Own rounding: fp32's values of a tensor put on its grid. As it arrives: with what "
        "earlier layers did to it.",
    ]
    if found.time is not None:
        notes.append(
            f"Time: {found.time.method}; {found.time.repeats} repeats, layers explain "
            f"{found.time.explained:.0%} of the call. Measured on {found.time.machine}: it says "
            "nothing about another processor."
        )
    else:
        notes.append(f"Time: not measured: {found.time_reason}.")
    items = "".join(f"<li>{_text(each)}</li>" for each in notes)
    return f"<section><h2>How it was measured</h2><ul>{items}</ul></section>"


def _table(name: str, title: str, heads: Sequence[str], rows: Iterable[str]) -> str:
    head = "".join(f'<th scope="col">{_text(each)}</th>' for each in heads)
    return (
        f'<section><h2 id="{name}">{_text(title)}</h2>'
        # Only this scrolls sideways on a phone, and by the keyboard too.
        f'<div class="wide" role="region" aria-labelledby="{name}" tabindex="0">'
        f'<table aria-labelledby="{name}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _row(head: str, cells: Sequence[str]) -> str:
    return f'<tr><th scope="row">{head}</th>{"".join(f"<td>{each}</td>" for each in cells)}</tr>'


def _bar(value: float, most: float) -> str:
    width = 100 * min(max(value / most, 0.0), 1.0) if most > 0 else 0.0
    return f'<span class="bar" aria-hidden="true"><i style="width:{width:.1f}%"></i></span>'


def _share(value: float | None) -> str:
    return _NONE if value is None else f"{value:.2%}"


def _code(text: str) -> str:
    # Isolated, so that a name in another direction does not turn its neighbours round.
    return f"<bdi><code>{_text(text)}</code></bdi>"


def _sentence(text: str) -> str:
    return _QUOTED.sub(r"<bdi><code>\1</code></bdi>", _text(text))


def _text(text: str) -> str:
    return html.escape(_CONTROL.sub("\ufffd", text), quote=True)
