"""The totals of both tensor protocols in Triton's words.

It is not aware of how they are counted. Used by `routes`.

Source: Triton, docs/protocol/extension_statistics.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgepack.runner.http.app import App
from edgepack.runner.http.messages import Response, json_response
from edgepack.runner.http.tensors.statistics import TensorStatistics, Total
from edgepack.runner.http.v2.lookup import check_model, find_live
from edgepack.runner.http.wire import Request
from edgepack.runner.live.model import LiveModel

_NOTHING = Total()


def model_statistics(
    app: App, statistics: TensorStatistics, _request: Request, parameters: Sequence[str]
) -> Response:
    """Answers `GET /v2/models[/…]/stats`: all versions, unless one is named."""
    name, version = parameters or ("", "")
    if version:
        shown = [find_live(app, name, version)]
    else:
        if name:
            check_model(app, name)
        shown = [live for _, live in app.models.all()]
    return json_response({"model_stats": [_entry(live, statistics) for live in shown]})


def _entry(live: LiveModel, statistics: TensorStatistics) -> dict[str, Any]:
    totals = statistics.of(live)
    return {
        "name": live.name,
        "version": live.version,
        "last_inference": totals.last_ms,
        "inference_count": totals.rows,
        "execution_count": totals.infer.count,
        "inference_stats": {
            "success": _duration(totals.success),
            "fail": _duration(totals.fail),
            "queue": _duration(totals.queue),
            "compute_input": _duration(totals.reading),
            "compute_infer": _duration(totals.infer),
            "compute_output": _duration(totals.writing),
            "cache_hit": _duration(_NOTHING),
            "cache_miss": _duration(_NOTHING),
        },
        "batch_stats": [
            {
                "batch_size": rows,
                # Tensors are read and written once a request and not once a call.
                "compute_input": _duration(_NOTHING),
                "compute_infer": _duration(total),
                "compute_output": _duration(_NOTHING),
            }
            for rows, total in sorted(totals.batches.items())
        ],
    }


def _duration(total: Total) -> dict[str, int]:
    return {"count": total.count, "ns": total.ns}
