"""Asks AI Edge Quantizer for its files; runs in an environment that has it and no edgepack.

    ENV/bin/python benchmarks/variants/edge_quantizer.py FLOAT.tflite CALIBRATION.npy OUT_PREFIX

It writes `OUT_PREFIX<recipe>.tflite`, and the last words of an error to `OUT_PREFIX<recipe>.txt`
where a recipe cannot be followed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np


def recipes() -> dict[str, Any]:
    """Returns AI Edge Quantizer's own recipes, and ones with fewer bits for the item table only.

    `table4`: 4 bits for the table and its scoring product, 8 for the other products.
    """
    from ai_edge_quantizer import recipe
    from ai_edge_quantizer.qtyping import QuantGranularity, TFLOperationName
    from ai_edge_quantizer.recipe_manager import RecipeManager

    def table4(**granularity: Any) -> Any:
        manager = RecipeManager()
        fully, lookup = TFLOperationName.FULLY_CONNECTED, TFLOperationName.EMBEDDING_LOOKUP
        manager.add_dynamic_config(".*", fully, num_bits=8)
        manager.add_dynamic_config(".*", lookup, num_bits=4, **granularity)
        manager.add_dynamic_config(_SCORES, fully, num_bits=4, **granularity)
        return manager.get_quantization_recipe()

    return {
        "dynamic8": recipe.dynamic_wi8_afp32(),
        "weights8": recipe.weight_only_wi8_afp32(),
        "dynamic4": recipe.dynamic_wi4_afp32(),
        "dynamic4-blocks": recipe.dynamic_wi4b32_afp32(),
        "weights4": recipe.weight_only_wi4_afp32(),
        "table4": table4(),
        "table4-blocks": table4(granularity=QuantGranularity.BLOCKWISE_32),
        "static8": recipe.static_wi8_ai8(),
        "static16x8": recipe.static_wi8_ai16(),
    }


#: The scoring product's output, by the name the benchmark gave it.
_SCORES = "edgepack_scores"


def main() -> int:
    """Makes every file."""
    from ai_edge_quantizer.quantizer import Quantizer

    model, calibration, prefix = sys.argv[1:4]
    rows = [{"arg_00": row[None]} for row in np.load(calibration)]
    for name, given in recipes().items():
        try:
            quantizer = Quantizer(model, given)
            ranges = (
                quantizer.calibrate({"serving_default": rows}, num_threads=1)
                if quantizer.need_calibration
                else None
            )
            data = bytes(quantizer.quantize(ranges).quantized_model)
        except Exception as error:  # noqa: BLE001 - whatever it says is the benchmark's result
            words = " ".join(str(error).split()) or type(error).__name__
            Path(f"{prefix}{name}.txt").write_text(words[:300])
            continue
        Path(f"{prefix}{name}.tflite").write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
