from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgepack.runner.gpu.own import OwnProcess, read_own_process

_HOST = "pid:[4026531836]"
_CONTAINER = "pid:[4026532811]"


def _proc(root: Path, namespace: str | None, ids: str | None, maps: str = "") -> Path:
    own = root / "proc" / "self"
    (own / "ns").mkdir(parents=True)
    if namespace is not None:
        (own / "ns" / "pid").symlink_to(namespace)
    line = "" if ids is None else f"NSpid:\t{ids}\n"
    (own / "status").write_text(f"Name:\tpython3\nPid:\t7\n{line}Threads:\t1\n")
    (own / "maps").write_text(maps)
    return root


_CUDA_LOADED = "7f00-7f01 r-xp 0 08:01 42 /usr/lib/x86_64-linux-gnu/libcuda.so.550.54.15\n"


def test_on_the_host_only_another_id_is_another_process(tmp_path: Path) -> None:
    own = read_own_process(_proc(tmp_path, _HOST, "7", _CUDA_LOADED), 7)
    assert own == OwnProcess(frozenset({7}))
    assert [own.others(each) for each in ([], [7], [8], [7, 8], [8, 9])] == [0, 0, 1, 1, 2]


def test_the_id_on_the_host_is_known_where_its_proc_is_seen(tmp_path: Path) -> None:
    own = read_own_process(_proc(tmp_path, _CONTAINER, "40311\t7", _CUDA_LOADED), 7)
    assert own == OwnProcess(frozenset({7, 40_311}))
    assert [own.others(each) for each in ([40_311], [40_311, 9], [9])] == [0, 1, 1]


def test_in_a_container_one_stranger_is_this_process_once_cuda_is_loaded(tmp_path: Path) -> None:
    own = read_own_process(_proc(tmp_path, _CONTAINER, "7", _CUDA_LOADED), 7)
    assert own == OwnProcess(frozenset({7}), complete=False, may_compute=True)
    assert [own.others(each) for each in ([], [40_311], [40_311, 9])] == [0, 0, 1]
    # Newer drivers name it as the container does; then nobody is taken for it.
    assert own.others([7, 40_311]) == 1


def test_before_cuda_is_loaded_every_stranger_is_another_process(tmp_path: Path) -> None:
    own = read_own_process(_proc(tmp_path, _CONTAINER, "7", "7f00-7f01 r-xp /lib/libc.so\n"), 7)
    assert own.others([40_311]) == 1


@pytest.mark.parametrize("ids", [None, "", "seven"])
def test_what_the_kernel_does_not_tell_is_done_without(tmp_path: Path, ids: str | None) -> None:
    assert read_own_process(_proc(tmp_path, None, ids), 7) == OwnProcess(frozenset({7}))
    assert read_own_process(tmp_path / "nowhere", 7) == OwnProcess(frozenset({7}))


def test_this_process_knows_itself() -> None:
    own = read_own_process()
    assert os.getpid() in own.ids
    assert own.others([os.getpid(), 2**22 + 1]) == 1
