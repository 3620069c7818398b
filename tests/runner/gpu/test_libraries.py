from __future__ import annotations

from pathlib import Path

import pytest

from edgepack.runner.gpu.libraries import find_libraries, search_folders
from edgepack.runner.gpu.needs import CUDA_LIBRARIES, HELPERS
from edgepack.runner.gpu.preload import preload
from tests.runner.gpu.cards import loader_cache, own_machine, shared_library

_CUDNN = next(each for each in CUDA_LIBRARIES if each.soname == "libcudnn.so.9")


def _put(folder: Path, name: str = _CUDNN.soname, data: bytes | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(shared_library(own_machine()) if data is None else data)
    return folder / name


def test_nvidias_wheels_come_before_the_environments_folders_and_the_systems(
    tmp_path: Path,
) -> None:
    site = tmp_path / "site"
    places = [
        _put(site / "nvidia" / "cudnn" / "lib"),
        _put(tmp_path / "opt" / "mine"),
        _put(tmp_path / "srv" / "cached"),
        _put(tmp_path / "usr" / "local" / "cuda-12.4" / "lib64"),
    ]
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "ld.so.cache").write_bytes(
        loader_cache(
            {_CUDNN.soname: f"/srv/cached/{_CUDNN.soname}", "libz.so.1": "/gone/libz.so.1"}
        )
    )
    environment = {"LD_LIBRARY_PATH": ":/opt/mine:/gone"}
    for place in places:
        folders = search_folders(environment, ["", str(site)], tmp_path)
        assert find_libraries([_CUDNN], folders).paths == {_CUDNN.soname: place}
        place.unlink()
    folders = search_folders(environment, ["", str(site)], tmp_path)
    assert find_libraries([_CUDNN], folders).paths == {}


def test_an_older_cache_format_before_the_new_one_is_skipped(tmp_path: Path) -> None:
    place = _put(tmp_path / "srv" / "cached")
    (tmp_path / "etc").mkdir()
    old = b"ld.so-1.7.0\0" + bytes(52)
    new = loader_cache({_CUDNN.soname: f"/srv/cached/{_CUDNN.soname}"})
    (tmp_path / "etc" / "ld.so.cache").write_bytes(old + new)
    assert place.parent in search_folders({}, [], tmp_path)


@pytest.mark.parametrize("data", [b"", b"glibc-ld.so.cache1.1", b"\xff" * 200])
def test_a_damaged_cache_is_passed_over(tmp_path: Path, data: bytes) -> None:
    place = _put(tmp_path / "usr" / "lib64")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "ld.so.cache").write_bytes(data)
    assert search_folders({}, [], tmp_path) == (place.parent,)


@pytest.mark.parametrize(
    "data", [b"", b"\x7fELF", b"!<arch>\n" * 10, shared_library(0x28)], ids=range(4)
)
def test_a_file_that_is_no_library_for_this_machine_is_not_found(
    tmp_path: Path, data: bytes
) -> None:
    _put(tmp_path, data=data)
    found = find_libraries([_CUDNN], [tmp_path])
    assert found.paths == {}
    assert found.others == {_CUDNN.soname: (_CUDNN.soname,)}


def test_another_version_is_told_and_not_taken(tmp_path: Path) -> None:
    for name in ("libcudnn.so.8", "libcudnn.so.8.9.7", "libcudnn_ops.so.9", "libcudart.so.12"):
        _put(tmp_path, name)
    found = find_libraries([_CUDNN], [tmp_path])
    assert found.others == {_CUDNN.soname: ("libcudnn.so.8", "libcudnn.so.8.9.7")}


def test_what_others_depend_on_is_loaded_first(tmp_path: Path) -> None:
    for each in (*CUDA_LIBRARIES, *HELPERS):
        _put(tmp_path, each.soname)
    loaded: list[str] = []
    found = find_libraries((*CUDA_LIBRARIES, *HELPERS), [tmp_path])
    assert preload(found, loaded.append) is None
    names = [Path(each).name for each in loaded]
    assert set(names) == {each.soname for each in (*CUDA_LIBRARIES, *HELPERS)}
    assert names.index("libcublasLt.so.12") < names.index("libcublas.so.12")
    assert names.index("libcublas.so.12") < names.index("libcudnn.so.9")
    assert names.index("libnvJitLink.so.12") < names.index("libcufft.so.11")


def test_a_library_that_the_loader_refuses_is_named(tmp_path: Path) -> None:
    _put(tmp_path)

    def refuse(path: str) -> object:
        raise OSError(f"{path}: file too short")

    problem = preload(find_libraries([_CUDNN], [tmp_path]), refuse)
    assert problem is not None
    assert problem.startswith("libcudnn.so.9 cannot be loaded: ")
