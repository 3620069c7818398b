"""The main job on a real shop: one command, three targets, every figure that is promised."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.cyclonedx_schema import schema_problems
from tests.e2e.builds import Cli, FullBuild

#: The largest complete bundles in bytes.
LIMITS = {"arm64": 14_000_000, "arm64-tiny": 9_000_000}


def test_there_is_one_bundle_for_each_target(full_build: FullBuild) -> None:
    for bundle in full_build.value["bundles"]:
        path = Path(bundle["path"])
        assert path.name == f"session-1.0.0-{bundle['target']}.pyz"
        assert path.stat().st_size == bundle["bytes"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == bundle["sha256"]
    assert [b["target"] for b in full_build.value["bundles"]] == ["arm64", "arm64-tiny", "cpu"]


@pytest.mark.parametrize("target", LIMITS)
def test_a_complete_bundle_is_small(full_build: FullBuild, target: str) -> None:
    assert full_build.bundle(target).stat().st_size <= LIMITS[target]


def test_the_model_beats_the_markov_baseline_of_the_same_run(full_build: FullBuild) -> None:
    metrics = full_build.value["model"]["metrics"]
    assert metrics["model"]["ndcg"] > metrics["markov"]["ndcg"] > metrics["popularity"]["ndcg"]
    assert metrics["model"]["hr"] > metrics["markov"]["hr"]
    # The published figures of this split; the baselines have no randomness.
    assert metrics["markov"]["hr"] == pytest.approx(0.441, abs=0.005)
    assert metrics["popularity"]["hr"] == pytest.approx(0.121, abs=0.005)


def test_int8_variants_pass_the_gate_and_run_on_the_cortex_a72(full_build: FullBuild) -> None:
    rows = full_build.rows("arm64")
    passed = {name for name, row in rows.items() if row["verdict"] in ("chosen", "passed")}
    assert "tflite-static-int8" in passed, rows["tflite-static-int8"]
    assert {"tflite-dynamic-int8", "tflite-dynamic-int8-per-tensor"} & passed
    assert {"onnx-dynamic-int8", "onnx-static-int8"} & passed
    for name in passed:
        quality = rows[name]["quality"]
        assert quality["ndcg_ratio"] >= 0.995
        assert quality["overlap"] >= 0.95
        assert quality["top1_same"] >= 0.90
        assert set(quality["slices"]) <= {"short_histories", "rare_items"}


def test_every_row_has_a_verdict_and_a_reason(full_build: FullBuild) -> None:
    rows = full_build.value["variants"]
    assert len(rows) == 9 + 5 + 9
    for row in rows:
        assert row["verdict"]
        assert row["reason"]
        assert row["bytes"] > 0 or row["verdict"] == "not converted"


def test_exactly_one_variant_of_each_target_is_chosen(full_build: FullBuild) -> None:
    chosen = [row for row in full_build.value["variants"] if row["verdict"] == "chosen"]
    assert [row["target"] for row in chosen] == ["arm64", "arm64-tiny", "cpu"]
    for row, bundle in zip(chosen, full_build.value["bundles"], strict=True):
        assert (row["name"], row["runtime"]) == (bundle["chosen"], bundle["runtime"])


def test_the_default_dynamic_int8_file_is_refused_by_the_old_runtime(full_build: FullBuild) -> None:
    row = full_build.rows("arm64-tiny")["tflite-dynamic-int8"]
    assert row["verdict"] == "refused"
    for words in ("FULLY_CONNECTED", "12", "tflite-runtime 2.14.0", "litert"):
        assert words in row["reason"]


def test_a_warm_build_writes_the_same_bytes(
    full_build: FullBuild, run_cli: Cli, tmp_path: Path
) -> None:
    again = run_cli(*full_build.arguments, "--out", tmp_path)
    assert again.status == 0, again.stderr

    def hashes(value: Any) -> list[str]:
        return [bundle["sha256"] for bundle in value["bundles"]]

    assert hashes(again.value) == hashes(full_build.value)


def test_the_host_verifies_and_inspects_a_bundle(full_build: FullBuild, run_cli: Cli) -> None:
    path = full_build.bundle("arm64")
    verified = run_cli("verify", path, "--json")
    assert verified.status == 0, verified.stderr
    assert verified.value["ok"] is True
    inspected = run_cli("inspect", path, "--json").value
    assert inspected["manifest"]["target"]["name"] == "arm64"
    assert schema_problems(inspected["sbom"]) == []
    assert len(inspected["manifest"]["popular"]) >= 10
    assert inspected["manifest"]["reference"]
    table = run_cli("inspect", path)
    assert "Candidates" in table.stdout


def test_a_damaged_bundle_is_refused_on_the_host(
    full_build: FullBuild, run_cli: Cli, tmp_path: Path
) -> None:
    data = bytearray(full_build.bundle("arm64-tiny").read_bytes())
    data[len(data) // 2] ^= 1
    broken = tmp_path / "broken.pyz"
    broken.write_bytes(data)
    result = run_cli("verify", broken)
    assert result.status == 7
    assert "payload" in result.stderr
    assert "hint:" in result.stderr
