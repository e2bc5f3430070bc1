"""Writes the networks with another exporter: python -m benchmarks.export_peers EXPORTER FOLDER

EXPORTER: torch, tf2onnx or jax2onnx. The folder has NAME.npz with the weights of each network, and gets
NAME.EXPORTER.onnx. The batch is free, and so are the lengths of the texts. Run by a Python that has the exporter.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

EXPORTER, FOLDER = (*sys.argv[1:3],)
os.environ["KERAS_BACKEND"] = "jax" if EXPORTER == "jax2onnx" else "tensorflow"
os.environ["BENCHMARKS_SIDE"] = "keras-jax" if EXPORTER == "jax2onnx" else "keras-tf"
OPSET = 20


def lengths(name: str) -> dict[str, str]:
    """The free length of each text."""
    return {"title": "title_length", "body": "body_length"} if name == "tickets" else {}


def keras_model(name: str, arrays: list[Any]) -> Any:
    from benchmarks.export_models import BUILDERS

    model = BUILDERS[name]()
    model.set_weights(arrays)
    return model


def tf2onnx(name: str, arrays: list[Any], paths: list[str], target: Path) -> None:
    import tensorflow as tf
    import tf2onnx as library

    model = keras_model(name, arrays)
    specs = [tf.TensorSpec(i.shape, i.dtype, name=i.name) for i in model.inputs]
    function = tf.function(lambda *values: model(list(values), training=False), input_signature=specs)
    library.convert.from_function(function, input_signature=specs, opset=18, output_path=str(target))


def jax2onnx(name: str, arrays: list[Any], paths: list[str], target: Path) -> None:
    import jax
    from jax2onnx import to_onnx

    from benchmarks.export_models import SIZES

    model = keras_model(name, arrays)
    dtypes = {"float32": np.float32, "int64": np.int32}
    shapes = [jax.ShapeDtypeStruct((1, *shape), dtypes[dtype]) for dtype, shape in SIZES[name].values()]
    inputs = [("B", *s.shape[1:]) for s in shapes]
    dtyped = (
        [jax.ShapeDtypeStruct(s, d.dtype) for s, d in zip(inputs, shapes, strict=True)] if name == "tickets" else inputs
    )
    to_onnx(
        lambda *values: model(list(values), training=False), dtyped, opset=OPSET, input_names=list(SIZES[name]),
        return_mode="file", output_path=str(target),
    )  # fmt: skip


def torch(name: str, arrays: list[Any], paths: list[str], target: Path) -> None:
    import torch as library

    from benchmarks.export_torch import MODULES
    from benchmarks.torch_weights import copy_weights

    module = MODULES[name]().eval()
    copy_weights(module, dict(zip(paths, arrays, strict=True)))
    from benchmarks.export_models import SIZES

    batch = library.export.Dim("batch")
    names = list(SIZES[name])
    values = tuple(
        library.zeros((2, *shape), dtype=library.int64) if dtype == "int64" else library.rand((2, *shape))
        for dtype, shape in SIZES[name].values()
    )
    free = {n: {0: batch} | ({1: library.export.Dim(lengths(name)[n])} if n in lengths(name) else {}) for n in names}
    library.onnx.export(
        module, values, str(target), input_names=names, dynamic_shapes=tuple(free.values()), opset_version=OPSET,
        dynamo=True, external_data=False,
    )  # fmt: skip


def main() -> None:
    for file in sorted(Path(FOLDER).glob("*.npz")):
        with np.load(file) as saved:
            paths, arrays = list(saved), [saved[key] for key in saved]
        target = file.with_name(f"{file.stem}.{EXPORTER}.onnx")
        try:
            {"torch": torch, "tf2onnx": tf2onnx, "jax2onnx": jax2onnx}[EXPORTER](file.stem, arrays, paths, target)
            print(f"{target.name}: written")
        except Exception as error:
            import traceback

            traceback.print_exc()
            print(f"{target.name}: {type(error).__name__}: {str(error)[:300]}")


if __name__ == "__main__":
    main()
