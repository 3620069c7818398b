"""Finds the model that a path names, or says as Triton does that it is not there.

Used by the modules beside it.

Source: the sentences are those of triton-inference-server/core, src/model_lifecycle.cc, which
clients search for words.
"""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import unquote

from edgepack.runner.engines.contract import Engine
from edgepack.runner.http.app import App
from edgepack.runner.http.messages import RefusalError
from edgepack.runner.http.v2.fields import shown
from edgepack.runner.live.model import LiveModel


def check_model(app: App, name: str) -> None:
    """Refuses the name of another model.

    Raises:
        RefusalError: 404.
    """
    if unquote(name) != app.models.name:
        raise RefusalError(
            HTTPStatus.NOT_FOUND,
            f"Request for unknown model: '{shown(unquote(name))}' is not found",
        )


def find_live(app: App, name: str, version: str) -> LiveModel:
    """Finds a release.

    Args:
        app: Whose models.
        name: The model's name, as in the path.
        version: A version, its whole number or a label, as in the path; '' for `stable`.

    Raises:
        RefusalError: 404, there is no such model or version.
    """
    check_model(app, name)
    if not version:
        return app.models.stable
    wanted = unquote(version)
    live = app.models.versioned(wanted) or app.models.labelled(wanted)
    if live is None:
        raise RefusalError(
            HTTPStatus.NOT_FOUND,
            f"Request for unknown model: '{app.models.name}' version {shown(wanted)} is not found",
        )
    return live


def engine_of(live: LiveModel) -> Engine:
    """Returns the engine of a release that is loaded.

    Raises:
        RefusalError: 503, it was unloaded.
    """
    engine = live.usable_engine
    if engine is None:
        raise RefusalError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"Request for unknown model: '{live.name}' version {live.version} is not at ready "
            "state",
        )
    return engine
