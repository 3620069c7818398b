"""The errors edgepack raises, one class and one exit code for each kind of fault.

It is not aware of who shows an error: `edgepack.cli.main`, the runner's `main` and the
bundle's program each have one boundary that prints `message` and `hint` and exits with
`exit_code`. Anyone may import it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with something a person wrote or a file that was checked.

    Attributes:
        where: The object at fault: a key path, an operator, a file inside an archive.
        message: What was found there and what was expected.
        hint: What to do about it, when that is known.
    """

    where: str
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text} ({self.hint})" if self.hint else text


class EdgepackError(Exception):
    """Any fault edgepack can name; never raised itself.

    Attributes:
        message: What happened, to which object; got and expected where that applies.
        hint: What to type or change next, or None.
        exit_code: The process exit status of this class of fault.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(EdgepackError):
    """A target, model project, data file or option is wrong: the user's to mend."""

    exit_code = 3

    @classmethod
    def from_problems(
        cls, source: str, problems: Sequence[Problem], *, hint: str | None = None
    ) -> ConfigError:
        """Composes one error that names every problem of a source at once.

        Args:
            source: The file or option that was read.
            problems: At least one problem.
            hint: What to do about all of them together.

        Returns:
            The error, ready to be raised.
        """
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = "".join(f"\n  {problem}" for problem in problems)
        return cls(f"{source}: {count}{lines}", hint=hint)


class MissingToolError(EdgepackError):
    """A program, package or network service that the work needs is not there."""

    exit_code = 4


class MissingExtraError(MissingToolError):
    """An optional part of edgepack is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the Python package {package}, which is not installed",
            hint=f"pip install 'edgepack[{extra}]'",
        )


class ConversionError(EdgepackError):
    """A model could not be read or converted: which model, which variant, last words."""

    exit_code = 5


class QualityError(EdgepackError):
    """A ranking or an output is worse than the limit: metric, measured, limit."""

    exit_code = 6


class BundleError(EdgepackError):
    """A bundle or an installed release is damaged, hostile or of another format."""

    exit_code = 7


class DeviceError(EdgepackError):
    """The box or its runtime cannot load, run or hold the model."""

    exit_code = 8


class HubError(EdgepackError):
    """A hub or report receiver is unreachable or refused."""

    exit_code = 9


class ImageError(EdgepackError):
    """A container tool or an image registry failed, refused, or gave another image."""

    exit_code = 10


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Suggests the known word closest to a mistyped one.

    Args:
        word: What was typed.
        known: The words that would have been understood.

    Returns:
        `"; did you mean 'x'?"`, or an empty string when nothing is close.
    """
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""
