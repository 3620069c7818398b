"""Opens an interaction log as rows of text: CSV in its packings, or Parquet.

Not aware of what the columns mean. The only file that imports pyarrow, gzip, lzma and zipfile
for reading data, so their exceptions end here. May be imported by `edgepack.build.data`.
"""

from __future__ import annotations

import csv
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from edgepack.formats.errors import ConfigError, MissingExtraError, Problem, did_you_mean

DELIMITERS = (",", ";", "\t", "|")
_TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".data")
_PACKING_ERRORS = (EOFError, gzip.BadGzipFile, lzma.LZMAError, zipfile.BadZipFile, zlib.error)


def data_error(path: Path, where: str, message: str, hint: str | None = None) -> ConfigError:
    """One problem of one data file, as the error a person reads.

    Args:
        path: The data file.
        where: The place in it: a column, a member, a row; empty for the whole file.
        message: What was found and what was expected.
        hint: What to type next.
    """
    return ConfigError.from_problems(str(path), [Problem(where, message, hint)])


@contextmanager
def open_rows(
    path: Path, columns: Sequence[str], *, delimiter: str | None = None, member: str | None = None
) -> Iterator[Iterator[list[str]]]:
    """Opens a log and gives its rows, the named columns only, in the order named.

    Args:
        path: A CSV or TSV file, plain, `.gz`, `.xz` or in a `.zip`; or a `.parquet` file.
        columns: Names of the columns wanted.
        delimiter: The character between fields; None to find it from the header.
        member: Which file of a `.zip` to read; needed when it holds several.

    Raises:
        ConfigError: The file is missing, empty, damaged or without one of the columns.
        MissingExtraError: A Parquet file, and pyarrow is not installed.
    """
    if path.suffix.lower() in (".parquet", ".pq"):
        check_readable(path)
        yield _parquet_rows(path, columns)
    else:
        with open_text(path, member) as text:
            try:
                yield _csv_rows(path, text, columns, delimiter)
            except csv.Error as error:
                hint = "check --delimiter"
                raise data_error(path, "", f"not a CSV file: {error}", hint) from error


@contextmanager
def open_text(path: Path, member: str | None = None) -> Iterator[IO[str]]:
    """Opens a log as text, out of its packing. What goes wrong while it is read ends here too.

    Args:
        path: A text file, plain, `.gz`, `.xz` or in a `.zip`.
        member: Which file of a `.zip` to read; needed when it holds several.

    Raises:
        ConfigError: The file is missing, empty, damaged or not UTF-8.
    """
    check_readable(path)
    try:
        with _unpacked(path, member) as text:
            yield text
    except _PACKING_ERRORS as error:
        raise data_error(
            path, "", f"the archive is damaged: {error}", "copy or download the file again"
        ) from error
    except UnicodeDecodeError as error:
        raise data_error(
            path,
            "",
            f"not UTF-8 text (byte {error.start} of a block: {error.reason})",
            f"convert it first: iconv -f latin1 -t utf-8 '{path.name}' > utf8.csv",
        ) from error


def check_readable(path: Path) -> None:
    """Checks that the data file is there and holds something.

    Raises:
        ConfigError: There is no such file, it is a folder, it is empty or may not be read.
    """
    try:
        if path.is_dir():
            raise data_error(path, "", "is a folder, expected one file", "name the file in it")
        size_bytes = path.stat().st_size
        with path.open("rb"):
            pass
    except FileNotFoundError as error:
        near = _similar_names(path)
        raise data_error(path, "", f"there is no such file{near}", "check --data") from error
    except OSError as error:
        raise data_error(path, "", f"cannot be read: {error.strerror}", None) from error
    if size_bytes == 0:
        raise data_error(path, "", "the file is empty (0 bytes)", "a header and rows are expected")


def _similar_names(path: Path) -> str:
    if not path.parent.is_dir():
        return ""
    return did_you_mean(path.name, sorted(entry.name for entry in path.parent.iterdir()))


@contextmanager
def _unpacked(path: Path, member: str | None) -> Iterator[IO[str]]:
    suffix = path.suffix.lower()
    if member is not None and suffix != ".zip":
        raise data_error(path, "member", f"'{member}' was asked for, but this is no .zip file")
    if suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            name = _choose_member(path, archive, member)
            with archive.open(name) as raw, _decode(raw) as text:
                yield text
    elif suffix == ".gz":
        with gzip.open(path, "rb") as unzipped, _decode(unzipped) as text:
            yield text
    elif suffix == ".xz":
        with lzma.open(path, "rb") as raw, _decode(raw) as text:
            yield text
    else:
        with path.open("rb") as raw, _decode(raw) as text:
            yield text


def _decode(raw: Any) -> io.TextIOWrapper:
    # newline="" is what csv asks for; utf-8-sig drops the mark that spreadsheets write first.
    return io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")


def _choose_member(path: Path, archive: zipfile.ZipFile, member: str | None) -> str:
    names = [
        info.filename
        for info in archive.infolist()
        if not info.is_dir() and not info.filename.startswith("__MACOSX/")
    ]
    if member is not None:
        if member not in names:
            raise data_error(
                path,
                "member",
                f"no member '{member}'{did_you_mean(member, names)}",
                f"it holds: {', '.join(names)}",
            )
        return member
    tables = [name for name in names if name.lower().endswith(_TEXT_SUFFIXES)]
    if len(tables) == 1:
        return tables[0]
    if not tables:
        raise data_error(
            path, "", f"holds no .csv or .tsv (it holds: {', '.join(names) or 'nothing'})"
        )
    raise data_error(
        path,
        "member",
        f"holds {len(tables)} tables: {', '.join(tables)}",
        f"choose one: --member '{tables[0]}'",
    )


def _csv_rows(
    path: Path, text: IO[str], columns: Sequence[str], delimiter: str | None
) -> Iterator[list[str]]:
    header_line = text.readline()
    if not header_line.strip():
        raise data_error(path, "", "the file is empty", "a header and rows are expected")
    chosen = delimiter or sniff_delimiter(header_line, columns)
    header = [name.strip() for name in next(csv.reader([header_line], delimiter=chosen))]
    places = _find_columns(path, header, columns)
    needed = max(places) + 1
    for number, row in enumerate(csv.reader(text, delimiter=chosen), start=1):
        if not row:
            continue
        if len(row) < needed:
            raise data_error(
                path,
                f"data row {number}",
                f"has {len(row)} fields, expected {len(header)} as in the header",
                "a wrong --delimiter, or a file cut short",
            )
        yield [row[place] for place in places]


def sniff_delimiter(header_line: str, columns: Sequence[str]) -> str:
    """The delimiter under which most of the wanted columns are found, then most fields.

    Args:
        header_line: The first line of the file.
        columns: Names of the columns wanted.
    """

    def fitness(delimiter: str) -> tuple[int, int]:
        names = [name.strip() for name in next(csv.reader([header_line], delimiter=delimiter))]
        return sum(column in names for column in columns), len(names)

    return max(DELIMITERS, key=fitness)


def _find_columns(path: Path, header: Sequence[str], columns: Sequence[str]) -> list[int]:
    missing = [column for column in dict.fromkeys(columns) if column not in header]
    if missing:
        hint = f"columns in this file: {', '.join(header)}"
        raise ConfigError.from_problems(
            str(path),
            [
                Problem(f"column '{column}'", f"there is none{did_you_mean(column, header)}", hint)
                for column in missing
            ],
        )
    return [header.index(column) for column in columns]


def _parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[list[str]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet", f"reading {path.name}") from error
    try:
        with pq.ParquetFile(path) as file:
            _find_columns(path, list(file.schema_arrow.names), columns)
            for batch in file.iter_batches(columns=list(dict.fromkeys(columns))):
                values = [batch.column(name).to_pylist() for name in columns]
                for row in zip(*values, strict=True):
                    yield [_as_text(value) for value in row]
    except pa.ArrowException as error:
        raise data_error(path, "", f"not a Parquet file: {error}") from error


def _as_text(value: Any) -> str:
    return "" if value is None else str(value)
