"""The cache holds finished entries only, whatever interrupts their making."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from edgepack.build.cache import Cache
from edgepack.formats.errors import ConfigError

KEY = {"model": "abc", "recipe": 1}


def _leftovers(cache: Cache) -> list[Path]:
    return list((cache.root / "tmp").iterdir())


def test_an_entry_is_made_once(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    made: list[Path] = []

    def make(draft: Path) -> None:
        made.append(draft)
        (draft / "file").write_text("x")

    first = cache.get_or_make("site", KEY, make)
    assert cache.get_or_make("site", dict(reversed(KEY.items())), make) == first
    assert cache.find("site", KEY) == first
    assert (first / "file").read_text() == "x"
    assert len(made) == 1
    assert _leftovers(cache) == []


def test_another_key_is_another_entry(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert cache.path_of("site", KEY) != cache.path_of("site", {**KEY, "recipe": 2})
    assert cache.path_of("site", KEY) != cache.path_of("root", KEY)


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), RuntimeError("converter"), SystemExit(3)])
def test_an_interrupted_entry_leaves_nothing(tmp_path: Path, fault: BaseException) -> None:
    cache = Cache(tmp_path)

    def make(draft: Path) -> None:
        (draft / "half").write_text("x")
        (draft / "locked").mkdir(mode=0o500)
        raise fault

    with pytest.raises(type(fault)):
        cache.get_or_make("site", KEY, make)
    assert cache.find("site", KEY) is None
    assert _leftovers(cache) == []


def test_an_interrupted_entry_can_be_made_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    # What a kill between the rename and an older delete may leave: a folder without its key.
    path = cache.path_of("site", KEY)
    path.mkdir(parents=True)
    (path / "stale").write_text("old")
    made = cache.get_or_make("site", KEY, lambda draft: (draft / "new").touch())
    assert sorted(each.name for each in made.iterdir()) == [".key.json", "new"]


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def make(draft: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ConfigError, match="no space left") as caught:
        cache.get_or_make("site", KEY, make)
    assert "EDGEPACK_CACHE" in str(caught.value.hint)
    assert _leftovers(cache) == []


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be used") as caught:
        Cache(tmp_path / "file" / "cache")
    assert "--cache" in str(caught.value.hint)


def test_a_second_build_waits_for_the_first_and_uses_its_entry(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    inside, release = threading.Event(), threading.Event()
    made: list[str] = []

    def slow(draft: Path) -> None:
        inside.set()
        assert release.wait(10)
        made.append("slow")
        (draft / "file").write_text("first")

    def other(draft: Path) -> None:
        made.append("other")

    results: list[Path] = []
    first = threading.Thread(target=lambda: results.append(cache.get_or_make("x", KEY, slow)))
    first.start()
    assert inside.wait(10)
    second = threading.Thread(
        target=lambda: results.append(Cache(tmp_path).get_or_make("x", KEY, other))
    )
    second.start()
    second.join(0.2)
    assert second.is_alive(), "the second build did not wait"
    release.set()
    first.join(10)
    second.join(10)
    assert made == ["slow"]
    assert results[0] == results[1]


def test_what_a_killed_build_left_is_removed_and_a_running_builds_is_not(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    # Nobody holds a lock on these: their process is gone, and so may be the lock's file.
    for name in ("site-0123456789abcdef", "root-of-an-older-edgepack"):
        (cache.root / "tmp" / name / "half").mkdir(parents=True)
        (cache.root / "tmp" / name / "half").chmod(0o500)
    (cache.root / "locks" / "site-0123456789abcdef").touch()
    with cache.temporary_directory("variant-") as running:
        (running / "file").touch()
        removed = Cache(tmp_path).remove_abandoned()
        assert removed == ("root-of-an-older-edgepack", "site-0123456789abcdef")
        assert _leftovers(cache) == [running]
        assert (running / "file").exists()
    assert _leftovers(cache) == []
    assert list((cache.root / "locks").iterdir()) == []
    assert cache.remove_abandoned() == ()


def test_an_entry_keeps_no_lock_of_its_own_draft(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    made = cache.get_or_make("site", KEY, lambda draft: (draft / "file").touch())
    assert made.stat().st_mode & 0o777 == 0o755
    locks = [each.name for each in (cache.root / "locks").iterdir()]
    assert locks == [f"site-{made.name}"]
