"""The error classes own their exit codes and compose whole sentences."""

from __future__ import annotations

import inspect

import pytest

from edgepack.formats import errors
from edgepack.formats.errors import ConfigError, EdgepackError, Problem, did_you_mean


def test_every_class_has_the_documented_exit_code() -> None:
    codes = {
        name: found.exit_code
        for name, found in inspect.getmembers(errors, inspect.isclass)
        if issubclass(found, EdgepackError)
    }
    assert codes == {
        "EdgepackError": 1,
        "ConfigError": 3,
        "MissingToolError": 4,
        "MissingExtraError": 4,
        "ConversionError": 5,
        "QualityError": 6,
        "BundleError": 7,
        "DeviceError": 8,
        "HubError": 9,
        "ImageError": 10,
    }


def test_all_problems_of_a_source_are_named_at_once() -> None:
    problems = [Problem("arch", "got 'arm'", "use aarch64"), Problem("cpu.flags", "got 1")]
    error = ConfigError.from_problems("targets/box.toml", problems, hint="mend it")
    assert error.message.splitlines() == [
        "targets/box.toml: 2 problems",
        "  arch: got 'arm' (use aarch64)",
        "  cpu.flags: got 1",
    ]
    assert error.hint == "mend it"


def test_a_missing_extra_names_the_command_that_installs_it() -> None:
    error = errors.MissingExtraError("pyarrow", "parquet", "reading Parquet")
    assert error.hint == "pip install 'edgepack[parquet]'"


@pytest.mark.parametrize(
    ("word", "expected"), [("arm46", "; did you mean 'arm64'?"), ("zebra", "")]
)
def test_a_mistyped_word_gets_the_closest_known_one(word: str, expected: str) -> None:
    assert did_you_mean(word, ["arm64", "cpu"]) == expected
