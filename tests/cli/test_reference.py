"""The docs name everything that can be typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepack.build.projects import find_projects
from edgepack.build.targets import list_targets
from edgepack.cli.main import COMMANDS
from edgepack.cli.reference import main, render_reference
from edgepack.formats import errors


def _docs(repository: Path) -> str:
    pages = [*(repository / "docs").glob("*.md"), repository / "README.md"]
    return "\n".join(page.read_text(encoding="utf-8") for page in pages)


def test_the_command_reference_is_up_to_date(repository: Path) -> None:
    assert main(repository / "docs" / "cli.md", check=True) == 0, (
        "run: python -m edgepack.cli.reference"
    )


def test_an_outdated_reference_is_found(tmp_path: Path) -> None:
    page = tmp_path / "cli.md"
    assert main(page, check=True) == 1
    assert main(page, check=False) == 0
    assert main(page, check=True) == 0
    page.write_text(page.read_text() + "x")
    assert main(page, check=True) == 1


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_is_in_the_reference(name: str) -> None:
    assert f"## `edgepack {name}`" in render_reference()


def test_every_target_is_documented(repository: Path) -> None:
    text = (repository / "docs" / "targets.md").read_text(encoding="utf-8")
    for name in list_targets((repository / "targets",)):
        assert f"`{name}`" in text


def test_every_model_project_is_documented(repository: Path) -> None:
    text = (repository / "docs" / "model-projects.md").read_text(encoding="utf-8")
    for name in find_projects((repository / "models",)):
        assert f"`{name}`" in text


def test_every_error_class_and_exit_code_is_documented(repository: Path) -> None:
    text = _docs(repository)
    for name in errors.__dict__:
        found = getattr(errors, name)
        is_error = isinstance(found, type) and issubclass(found, errors.EdgepackError)
        if is_error and found is not errors.EdgepackError:
            assert f"`{name}`" in text, name


def test_every_command_of_a_bundle_and_of_the_runner_is_documented(repository: Path) -> None:
    text = _docs(repository)
    for name in ("verify", "install", "stage", "run", "bench", "doctor", "prune", "uninstall"):
        assert f"`{name}`" in text or f"pyz {name}" in text, name
    for name in ("serve", "bench", "report", "check", "status"):
        assert f"edgepack-runner {name}" in text, name


def test_links_between_the_docs_lead_somewhere(repository: Path) -> None:
    import re

    for page in [*(repository / "docs").glob("*.md"), repository / "README.md"]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
