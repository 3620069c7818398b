"""Says which layer a tensor belongs to, from the names that exporters give. Pure functions.

Keras calls a value `sasrec_1/final_norm_1/moments/mean`: the model, the layer, and what the
layer does inside. It is not aware of files. Used by `tflite_pair` and `onnx_pair`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

_SEPARATOR: Final = "/"
#: Keras counts the calls of a layer: `final_norm_1` is its first after the model was built.
_COUNTED: Final = re.compile(r"^(.+)_\d+$")
#: What TensorFlow and tf2onnx put around a model's own names.
_WRAPPERS: Final = frozenset({"StatefulPartitionedCall", "PartitionedCall", ""})
#: A name that a file's format gave, not a person: `t12_`, `arith.constant3`, `42`.
_NUMBERED: Final = re.compile(r"^(?:t?\d+_?|arith\.constant\d*|tfl\.\w+|StatefulPart.*|:\d+)$")
#: Scopes of a name that say where a layer is; deeper ones are its own matter.
_DEPTH: Final = 2


def layer_names(names: Sequence[str], operators: Sequence[str]) -> list[str]:
    """Returns the layer of each operator.

    Args:
        names: What each operator's first output is called; may be empty.
        operators: Each operator's kind, such as `MUL`; stands in where a name says nothing.

    Returns:
        One name for each: the scopes of a layer, such as `block0_attention/query`; where an
        operator lies between layers, its own name, such as `Add_1`.
    """
    paths = [_path(name) for name in names]
    root = _root(paths)
    counted = bool(root and _COUNTED.match(root))
    found = []
    calls: dict[str, list[str]] = {}
    for place, (path, operator) in enumerate(zip(paths, operators, strict=True)):
        inner = path[1:] if root and path[:1] == [root] else path
        if not inner or _NUMBERED.match(inner[-1]):
            found.append(f"{operator} {place}")
            continue
        layer = _layer(inner, counted=counted)
        # A table that embeds the history and scores it is one layer and two places.
        times = calls.setdefault(layer, [])
        if len(inner) > 1 and inner[0] not in times:
            times.append(inner[0])
        call = times.index(inner[0]) if len(inner) > 1 else 0
        found.append(f"{layer} (call {call + 1})" if call else layer)
    return found


def distinct(names: Sequence[str]) -> list[str]:
    """Returns the names with a number at those that come again, so that each is one."""
    seen: Counter[str] = Counter()
    again = Counter(names)
    found = []
    for name in names:
        seen[name] += 1
        found.append(f"{name} [{seen[name]}]" if again[name] > 1 else name)
    return found


def tensor_name(name: str, layer: str, role: str) -> str:
    """Returns what a tensor is called: by its exporter, or after its layer where that is mute."""
    path = _path(name)
    return "/".join(path) if path and not _NUMBERED.match(path[-1]) else f"{layer} {role}"


def _path(name: str) -> list[str]:
    """Returns the scopes of a name; the converter joins the names of what it fused by `;`.

    A product's says whose weights they are; what was fused into it may be another layer's.
    """
    parts = [part for part in name.split(";") if part]
    products = [part for part in parts if part.rpartition(_SEPARATOR)[2].startswith("MatMul")]
    first = re.sub(r":\d+$", "", next(iter(products or parts), ""))
    return [part for part in first.split(_SEPARATOR) if part not in _WRAPPERS]


def _root(paths: Sequence[Sequence[str]]) -> str:
    """Returns the scope that is the model itself: the first of most names that have several."""
    first = Counter(path[0] for path in paths if len(path) > 1)
    if not first:
        return ""
    name, times = first.most_common(1)[0]
    # One layer of many operators is no model: a model has values outside any layer, or several.
    inside = {path[1] for path in paths if len(path) > 1 and path[0] == name}
    return name if times * 2 > sum(first.values()) and len(inside) > 1 else ""


def _layer(path: Sequence[str], *, counted: bool) -> str:
    scopes = list(path[:-1])
    if not scopes:
        return path[-1]
    if not counted:
        return _SEPARATOR.join(scopes[:_DEPTH])
    # A layer inside a layer is counted like the model; `moments` is only a name.
    kept = [scopes[0], *(scope for scope in scopes[1:_DEPTH] if _COUNTED.match(scope))]
    return _SEPARATOR.join(_without_count(scope) for scope in kept)


def _without_count(scope: str) -> str:
    match = _COUNTED.match(scope)
    return match.group(1) if match else scope
