from __future__ import annotations

import sys

from edgepack.build.models.ranker import HYPER_PARAMETERS, Architecture


def test_every_architecture_has_its_hyper_parameters() -> None:
    assert set(HYPER_PARAMETERS) == set(Architecture)


def test_naming_architectures_imports_no_keras() -> None:
    assert "keras" not in sys.modules
