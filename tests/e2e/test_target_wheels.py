"""A target's wheels: fetched for real, or refused by name; and what they have no kernel for."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepack.build.artifacts import ConvertedVariant
from edgepack.build.cache import Cache
from edgepack.build.preflight import preflight
from edgepack.build.targets import load_lock, load_target, make_site
from edgepack.build.targets.uv import WheelsUnavailableError
from edgepack.formats.canonical import sha256_hex
from edgepack.formats.errors import ConfigError
from edgepack.formats.variants import VariantSpec, parse_variant_name
from tests.e2e.doubling import own_target
from tests.e2e.making import start_making


def _dynamic_int8(path: Path) -> ConvertedVariant:
    """A dense layer quantised as the converter does by default."""
    import numpy as np
    import tensorflow as tf

    weights = tf.constant(np.linspace(-1, 1, 64 * 64, dtype=np.float32).reshape(64, 64))
    function = tf.function(
        lambda x: tf.matmul(x, weights), input_signature=[tf.TensorSpec([1, 64], tf.float32)]
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    path.write_bytes(converter.convert())
    spec: VariantSpec = parse_variant_name("tflite-dynamic-int8")
    return ConvertedVariant(spec, path, path.stat().st_size, sha256_hex(path.read_bytes()))


def test_default_dynamic_int8_is_refused_for_tflite_runtime_by_operator_and_version(
    tmp_path: Path,
) -> None:
    variant = _dynamic_int8(tmp_path / "dense.tflite")
    tiny = load_target("arm64-tiny")
    lock = load_lock(tiny)
    assert lock is not None
    problems = preflight(
        tiny, tiny.runtime("tflite-runtime"), variant, lock.runtimes["tflite-runtime"].wheels
    )
    assert len(problems) == 1
    text = str(problems[0])
    assert "FULLY_CONNECTED version 12" in text
    assert "tflite-runtime 2.14.0" in text
    assert "litert 2.3.0" in text
    arm = load_target("arm64")
    assert preflight(arm, arm.runtime("litert"), variant) == ()


def test_no_network_names_the_wheel_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    cache = Cache(tmp_path / "cache")
    target = load_target("arm64-tiny")
    with pytest.raises(WheelsUnavailableError) as caught:
        make_site(target, target.runtimes[0], cache)
    assert caught.value.exit_code == 4
    assert "arm64-tiny" in caught.value.message
    assert caught.value.hint
    assert not list((tmp_path / "cache" / "tmp").iterdir())
    assert not (tmp_path / "cache" / "site").exists()


def test_a_box_with_an_old_c_library_is_told_what_the_wheels_need(tmp_path: Path) -> None:
    target = own_target(tmp_path, "arm64-tiny", 'glibc = "2.36"', 'glibc = "2.28"')
    with pytest.raises(ConfigError) as caught:
        make_site(target, target.runtimes[0], Cache(tmp_path / "cache"))
    assert "manylinux_2_34" in caught.value.message
    assert "tflite-runtime" in caught.value.message
    assert not target.lock_path.exists()


def test_two_builds_at_once_share_one_site(repository: Path, tmp_path: Path) -> None:
    children = [start_making("site", tmp_path / "cache", repository) for _ in range(2)]
    answers = [child.communicate(timeout=120) for child in children]
    assert [child.returncode for child in children] == [0, 0], answers
    assert answers[0][0] == answers[1][0]
    assert len(list((tmp_path / "cache" / "site").iterdir())) == 1
    assert not list((tmp_path / "cache" / "tmp").iterdir())
