"""What stays in a site and what goes."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import numpy as np
import pytest

from edgepack.build.targets.lock import LockedWheel
from edgepack.build.targets.site import read_licence
from edgepack.build.targets.trim import trim_site

KEPT = (
    "numpy/__init__.py",
    "numpy/_core/_multiarray_umath.cpython-311-aarch64-linux-gnu.so",
    "numpy.libs/libopenblas.so",
    "numpy-2.2.6.dist-info/METADATA",
    "numpy-2.2.6.dist-info/licenses/LICENSE.txt",
    "tests.py",
    "testing/keep.py",
)
CUT = (
    "numpy/_core/tests/test_x.py",
    "numpy/__init__.pyi",
    "numpy/_core/include/numpy/arrayobject.h",
    "numpy/_core/lib/libnpymath.a",
    "numpy/__pycache__/x.cpython-311.pyc",
    "numpy/f2py/__init__.py",
    "numpy/random/mtrand.so",
    "numpy-2.2.6.dist-info/RECORD",
    "numpy-2.2.6.dist-info/INSTALLER",
    "bin/f2py",
)


def test_tests_headers_stubs_and_installers_notes_go_and_the_rest_stays(tmp_path: Path) -> None:
    for name in (*KEPT, *CUT):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        path.chmod(0o775)
    trim_site(tmp_path, ("numpy/random/*",))
    left = {str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*") if each.is_file()}
    assert left == set(KEPT)
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in KEPT} == {0o644}
    assert not (tmp_path / "numpy" / "random").exists(), "no empty folder is left"


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ("License-Expression: MIT\nLicense: other", "MIT"),
        ("License: Apache 2.0", "Apache 2.0"),
        (
            "License: Copyright (c)\n        all of the text\nClassifier: License :: OSI :: BSD",
            "BSD",
        ),
        ("Classifier: License :: OSI Approved :: MIT License", "MIT License"),
        ("Name: x", "unknown"),
    ],
)
def test_the_licence_is_what_the_metadata_says(metadata: str, licence: str, tmp_path: Path) -> None:
    folder = tmp_path / "ai_edge-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.4\n{metadata}\n\nbody\nLicense: no\n")
    wheel = LockedWheel("ai_edge-1.0-py3-none-any.whl", "0" * 64)
    assert read_licence(tmp_path, wheel) == licence
    assert read_licence(tmp_path / "none", wheel) == "unknown"


def _copy_of_numpy(site: Path) -> None:
    """numpy's own folders as its wheel has them, without its tests."""
    own = Path(np.__file__).parent
    for folder in (own, own.with_name("numpy.libs")):
        ignored = shutil.ignore_patterns("tests", "*.py", "__pycache__")
        shutil.copytree(folder, site / folder.name, ignore=ignored)


def test_openblas_gives_way_to_a_stand_in_and_what_only_it_needed_goes(tmp_path: Path) -> None:
    _copy_of_numpy(tmp_path)
    (before,) = tmp_path.glob("numpy.libs/*openblas*")
    assert before.stat().st_size > 10**7
    trim_site(tmp_path, ())
    (after,) = tmp_path.glob("numpy.libs/*")
    assert after.name == before.name
    assert after.stat().st_size < 4096
    (core,) = tmp_path.glob("numpy/_core/_multiarray_umath.*.so")
    wanted = {name for name in _text_of(core) if name.startswith("scipy_cblas_")}
    assert len(wanted) > 20
    assert wanted <= _text_of(after)


def _text_of(path: Path) -> set[str]:
    return {part.decode("ascii", "replace") for part in path.read_bytes().split(b"\0")}


def test_a_hollow_package_can_be_imported_and_is_empty(tmp_path: Path) -> None:
    package = tmp_path / "numpy" / "random"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError")
    (package / "mtrand.so").write_text("x")
    trim_site(tmp_path, (), ("numpy/random", "numpy/fft"))
    assert [each.name for each in package.iterdir()] == ["__init__.py"]
    statements = ast.parse((package / "__init__.py").read_text()).body
    assert [type(each) for each in statements] == [ast.Expr], "a docstring and no more"
    assert not (tmp_path / "numpy" / "fft").exists(), "what was not there is not made"


def test_parts_for_other_systems_go(tmp_path: Path) -> None:
    folder = tmp_path / "psutil"
    folder.mkdir()
    for name in ("__init__", "_common", "_pslinux", "_psposix", "_pswindows", "_psbsd", "_psosx"):
        (folder / f"{name}.py").write_text("")
    trim_site(tmp_path, ())
    left = {each.stem for each in folder.iterdir()}
    assert left == {"__init__", "_common", "_pslinux", "_psposix"}
