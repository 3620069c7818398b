"""A build chooses by what boxes reported, and goes on where nobody can be asked."""

from __future__ import annotations

import socket
from pathlib import Path

from edgepack.formats.report import Report
from tests.e2e.builds import Cli
from tests.e2e.workshop import Workshop
from tests.hub.sources.report_files import make_report, write_reports

SMALLEST, LARGER = "tflite-dynamic-int8", "tflite-fp32"


def _build(workshop: Workshop, run_cli: Cli, out: Path, *options: str | Path) -> tuple[str, ...]:
    """Returns the chosen variant, the reason, and what was warned of."""
    built = run_cli(
        *("build", "--model", "tiny", "--target", "cpu", "--runtime", "litert"),
        *("--variant", SMALLEST, "--variant", LARGER, "--candidates", "1"),
        *("--out", out, "--json", *options),
        cwd=workshop.folder,
    )
    assert built.status == 0, built.stderr
    (bundle,) = built.value["bundles"]
    warnings = [line for line in built.stderr.splitlines() if line.startswith("warning:")]
    return bundle["chosen"], bundle["reason"], "\n".join(warnings)


def test_the_field_decides_and_without_it_the_size(
    workshop: Workshop, run_cli: Cli, tmp_path: Path
) -> None:
    plain = _build(workshop, run_cli, tmp_path / "plain")
    assert plain[0] == SMALLEST
    assert "no field reports for this target yet" in plain[1]

    def reports(first: int, variant: str, p50_ns: int, count: int) -> list[Report]:
        return [
            make_report(first + i, variant=variant, p50_ns=p50_ns, target="cpu", model="tiny")
            for i in range(count)
        ]

    known = [*reports(0, LARGER, 20_000, 9), *reports(100, SMALLEST, 30_000, 9)]
    file = write_reports(tmp_path / "reports.jsonl", known)
    chosen, reason, warned = _build(workshop, run_cli, tmp_path / "field", "--hub", file)
    assert chosen == LARGER
    assert reason.startswith("the lowest field latency, 20 µs on 9 boxes, of 2 with reports")
    assert warned == ""

    few = write_reports(tmp_path / "few.jsonl", known[:5])
    chosen, reason, _ = _build(workshop, run_cli, tmp_path / "few", "--hub", few)
    assert chosen == SMALLEST
    assert "no field reports that count of any of them yet" in reason


def test_a_hub_that_is_away_is_worth_a_warning_and_no_more(
    workshop: Workshop, run_cli: Cli, tmp_path: Path
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        # Bound but not listening: nobody else can come to listen there meanwhile.
        address = f"http://127.0.0.1:{port}"
        chosen, _, warned = _build(workshop, run_cli, tmp_path / "dist", "--hub", address)
        asked = run_cli("select", "--target", "cpu", "--from", address)
    assert chosen == SMALLEST
    assert f"{address} cannot be asked" in warned
    assert "the build goes on without field reports" in warned
    assert asked.status == 9
    assert "does it run?" in asked.stderr
