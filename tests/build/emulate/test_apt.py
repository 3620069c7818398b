"""Where a suite comes from, as the host's own apt says it."""

from __future__ import annotations

from pathlib import Path

from edgepack.build.emulate.apt import find_sources


def write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_both_formats_are_read_and_other_suites_left_out(tmp_path: Path) -> None:
    write(
        tmp_path,
        "sources.list",
        "# old\ndeb [arch=amd64 signed-by=/k.gpg] http://a.example/os bookworm main x # y\n"
        "deb-src http://a.example/os bookworm main\n"
        "deb http://a.example/os trixie main\n"
        "deb http://cloud.example/apt cloud-sdk-bookworm main\n",
    )
    write(
        tmp_path,
        "sources.list.d/debian.sources",
        "Types: deb\nURIs: http://b.example/os\nSuites: bookworm bookworm-updates\n"
        "Components: main\nSigned-By: /usr/share/keyrings/os.gpg\n\n"
        "Types: deb\nURIs: http://b.example/security\nSuites: bookworm-security\n"
        "Components: main\nSigned-By:\n -----BEGIN\n abc\n\n"
        "Types: deb\nEnabled: no\nURIs: http://off.example\nSuites: bookworm\nComponents: main\n\n"
        "Types: deb-src\nURIs: http://src.example\nSuites: bookworm\nComponents: main\n",
    )
    assert find_sources("bookworm", tmp_path) == (
        "deb [signed-by=/k.gpg] http://a.example/os bookworm main",
        "deb [signed-by=/usr/share/keyrings/os.gpg] http://b.example/os bookworm main",
        "deb [signed-by=/usr/share/keyrings/os.gpg] http://b.example/os bookworm-updates main",
        "deb http://b.example/security bookworm-security main",
    )


def test_a_host_of_another_suite_gives_no_sources(tmp_path: Path) -> None:
    write(tmp_path, "sources.list", "deb http://a.example/os bookworm-updates main\n")
    assert find_sources("bookworm", tmp_path) == ()
    assert find_sources("bookworm", tmp_path / "none") == ()
