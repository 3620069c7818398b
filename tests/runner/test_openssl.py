from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgepack.runner.openssl import import_without_openssl

_NAMES = ("a_binding", "wants_a_binding")


@pytest.fixture
def _modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "a_binding.py").write_text("")
    (tmp_path / "wants_a_binding.py").write_text(
        "try:\n    import a_binding\nexcept ImportError:\n    a_binding = None\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in _NAMES:
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("_modules")
def test_what_can_do_without_the_binding_is_imported_without_it() -> None:
    import_without_openssl(["a_binding"], ["wants_a_binding"])
    assert sys.modules["wants_a_binding"].a_binding is None
    assert __import__("a_binding").__name__ == "a_binding"


@pytest.mark.usefixtures("_modules")
def test_a_binding_that_is_loaded_stays() -> None:
    loaded = __import__("a_binding")
    import_without_openssl(["a_binding"], ["wants_a_binding"])
    assert sys.modules["wants_a_binding"].a_binding is loaded


@pytest.mark.usefixtures("_modules")
def test_after_a_failed_import_the_binding_can_be_imported() -> None:
    with pytest.raises(ModuleNotFoundError):
        import_without_openssl(["a_binding"], ["there_is_no_such_module"])
    assert __import__("a_binding")
