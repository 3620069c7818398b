from __future__ import annotations

from pathlib import Path

import pytest

from tests.runner.http.apps import Served, recommender_live


@pytest.fixture
def labels(tmp_path: Path) -> set[str]:
    """The routes' names in metrics, which are their paths with the variable parts in braces."""
    served = Served(recommender_live(tmp_path))
    return {route.label for route in served.app.routes.all()}


def test_every_path_of_the_open_inference_protocol_is_in_its_description(
    repository: Path, labels: set[str]
) -> None:
    described = (repository / "docs" / "openapi-v2.yaml").read_text(encoding="utf-8")
    spoken = {label for label in labels if label.startswith("/v2")}
    spoken -= {"/v2/", "/v2/{not spoken}"}
    assert len(spoken) > 8
    assert [label for label in spoken if f"\n  {label}:\n" not in described] == []


def test_every_path_is_on_the_page_about_serving(repository: Path, labels: set[str]) -> None:
    pages = (repository / "docs" / "serving.md").read_text(encoding="utf-8")
    pages += (repository / "docs" / "runner.md").read_text(encoding="utf-8")
    for label in labels - {"/v2/{not spoken}", "/v1/{malformed}", "/v1/models/{model}:examples"}:
        # `/v2/models/{model}/infer` is written `/v2/models/M[/versions/V]/infer`.
        last = label.rpartition("}")[2] or label.partition("{")[0]
        assert last in pages, label
