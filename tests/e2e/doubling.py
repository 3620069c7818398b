"""A model that doubles its input, as TFLite and as ONNX, and a release of it for any target."""

from __future__ import annotations

from pathlib import Path

from edgepack.build.pack import finish_manifest, runner_files
from edgepack.build.targets import Runtime, Target, load_target
from edgepack.formats.canonical import sha256_hex
from edgepack.formats.golden import GoldenSet, GoldenTensors, TensorValue
from edgepack.formats.manifest import Candidate, Manifest, ModelInfo, RuntimeInfo
from edgepack.formats.tensors import TensorSpec
from edgepack.formats.variants import Format, parse_variant_name, runtime_format


def write_onnx(path: Path) -> None:
    """Writes y = x + x as an ONNX file that every ONNX Runtime since 1.10 loads."""
    from onnx import TensorProto, helper, save

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "g", [value], [result])
    imports = [helper.make_opsetid("", 13)]
    save(helper.make_model(graph, ir_version=8, opset_imports=imports), str(path))


def write_tflite(path: Path) -> None:
    """Writes y = x + x as a TFLite file."""
    import tensorflow as tf

    function = tf.function(
        lambda x: x + x, input_signature=[tf.TensorSpec([1, 4], tf.float32, name="x")]
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    path.write_bytes(converter.convert())


def lay_out(
    folder: Path, target: Target, runtime: Runtime, site: Path, model: Path, answer: float
) -> str:
    """Lays out a release of a doubling model; returns the variant's name."""
    spec = parse_variant_name(f"{runtime_format(runtime.name)}-fp32")
    tflite = spec.format is Format.TFLITE
    golden = _golden(tflite, answer)
    data = model.read_bytes()
    inputs, outputs = (
        _read_tflite_specs(model)
        if tflite
        else ((TensorSpec("x", "float32", (1, 4)),), (TensorSpec("y", "float32", (1, 4)),))
    )
    files: dict[str, bytes | Path] = {
        **runner_files(),
        f"models/{spec.file_name}": model,
        f"golden/{spec.name}.json": golden.to_bytes(),
        **{f"site/{each.relative_to(site)}": each for each in site.rglob("*") if each.is_file()},
    }
    candidate = Candidate(
        variant=spec.name,
        format=spec.format,
        precision=spec.precision,
        file=f"models/{spec.file_name}",
        sha256=sha256_hex(data),
        size=len(data),
        inputs=inputs,
        outputs=outputs,
        golden=f"golden/{spec.name}.json",
    )
    draft = Manifest(
        model=ModelInfo("double", "1.0.0", "tensor", "unknown", sha256_hex(data)),
        target=target.info(),
        runtime=RuntimeInfo(runtime.name, runtime.version, runtime.providers),
        candidates=(candidate,),
        reason="the only one",
    )
    for name, source in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(source if isinstance(source, bytes) else source.read_bytes())
    (folder / "manifest.json").write_bytes(finish_manifest(draft, files).to_bytes())
    return spec.name


def _golden(tflite: bool, answer: float) -> GoldenSet:
    name = "serving_default_x:0" if tflite else "x"
    given = TensorValue(name, "float32", (1, 4), (1.5,) * 4)
    wanted = TensorValue("y", "float32", (1, 4), (answer,) * 4)
    return GoldenSet(1e-6, tensors=(GoldenTensors((given,), (wanted,)),))


def _read_tflite_specs(
    model: Path,
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(model))

    def specs(details: list[dict[str, object]]) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(str(each["name"]), "float32", (1, 4)) for each in details)

    return specs(interpreter.get_input_details()), specs(interpreter.get_output_details())


def own_target(folder: Path, base: str, old: str, new: str) -> Target:
    """A user's own target: a shipped one with a value replaced, not yet locked."""
    text = load_target(base).path.read_text()
    assert old in text
    path = folder / f"{base}.toml"
    path.write_text(text.replace(old, new))
    return load_target(str(path))
