from __future__ import annotations

from pathlib import Path

import pytest

from edgepack.build.image.output import appears_whole, check_output, parse_output
from edgepack.formats.errors import ConfigError


@pytest.mark.parametrize("text", ["dist", "docker:dist", "oci:", "", "oci"])
def test_an_output_of_another_kind_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected oci:DIR"):
        parse_output(text)


def test_a_folder_may_have_a_colon() -> None:
    assert parse_output("oci:a:b") == Path("a:b")


def test_a_file_is_no_place_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="is there already"):
        check_output(tmp_path / "file")
    check_output(tmp_path / "new")


def test_an_older_image_is_there_until_the_new_one_is_whole(tmp_path: Path) -> None:
    place = tmp_path / "image"

    def write(text: str, *, fail: bool = False) -> None:
        with appears_whole(place, tmp_path) as draft:
            draft.mkdir()
            (draft / "oci-layout").write_text(text)
            if fail:
                raise OSError("stopped")

    write("old")
    with pytest.raises(OSError, match="stopped"):
        write("new", fail=True)
    assert (place / "oci-layout").read_text() == "old"
    write("new")
    assert (place / "oci-layout").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["image"]


def test_without_a_place_nothing_is_kept_outside_the_work_folder(tmp_path: Path) -> None:
    with appears_whole(None, tmp_path) as draft:
        assert draft.parent == tmp_path
