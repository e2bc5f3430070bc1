"""Mistakes with files: saving, loading, export, verification, pictures."""

from __future__ import annotations

from typing import Any

from graphkit import Input, Layer, Model, errors, from_keras, layers, models, utils
from tests.mistakes.row import Mistake, Scorer, digits, tickets

FOLDER = "none"


class Doubled(Layer):
    """A layer that nobody registered."""

    def call(self, inputs: Any) -> Any:
        return inputs * 2


def over_tags(*chain: Any) -> Model:
    value = tags = Input((5,), name="tags")
    for layer in chain:
        value = layer(value)
    return Model(tags, value, name="over_tags")


def text_model() -> Model:
    title = Input((), dtype="string", name="title")
    words = layers.TextVectorization(standardize=lambda text: text, vocabulary=["a"], name="words")
    return Model(title, words(title))


def stateful() -> Model:
    steps = Input(batch_shape=(2, 3, 4), name="steps")
    return Model(steps, layers.LSTM(3, stateful=True, name="memory")(steps))


def other_file(scene: Any) -> None:
    """A file of the same layers with other weights."""
    tickets().export(scene.folder / "model.onnx", verify=False)


def other_width(scene: Any) -> None:
    over_tags(layers.Dense(3, name="score")).save_weights(scene.folder / "score.safetensors")


def garbage(name: str) -> Any:
    return lambda scene: (scene.folder / name).write_bytes(b"\x89HDF\r\n\x1a\n" + b"0" * 300)


FILES = [
    Mistake("save into a missing folder", lambda s: s.model.save(s.folder / FOLDER / "m.gk"), errors.SavingError,
            "none", "the folder", "does not exist", "os.makedirs"),
    Mistake("a model file that is not there", lambda s: models.load_model(s.folder / "none.gk"), errors.SavingError,
            "none.gk", "expected one", "there is no file", "model.save"),
    Mistake("an HDF5 file for a saved model", lambda s: models.load_model(s.folder / "old.h5"), errors.SavingError,
            "old.h5", "a file of model.save", "File is not a zip file", "graphkit.from_keras",
            prepare=garbage("old.h5")),
    Mistake("an ONNX file for a saved model", lambda s: models.load_model(s.folder / "model.onnx"), errors.SavingError,
            "/model.onnx", "a file of model.save", "File is not a zip file", "graphkit inspect", prepare=other_file),
    Mistake("weights of another model", lambda s: s.model.load_weights(s.folder / "w.safetensors"), errors.SavingError,
            "'tickets'", "in the model alone look/embeddings", "digit/kernel", "load_weights(path, strict=",
            prepare=lambda s: digits().save_weights(s.folder / "w.safetensors")),
    Mistake("weights of another width",
            lambda s: over_tags(layers.Dense(2, name="score")).load_weights(s.folder / "score.safetensors"),
            errors.ShapeError, "'score/kernel'", "expected (5, 2)", "(5, 3)", "load_weights(path, strict=",
            prepare=other_width),
    Mistake("weights before the first call", lambda s: Scorer().load_weights(s.folder / "score.safetensors"),
            errors.StateError, "'scorer'", "place for saved ones", "no weights yet", "model.build",
            prepare=other_width),
    Mistake("weights of a model that has none yet", lambda s: Scorer().save_weights(s.folder / "w.safetensors"),
            errors.StateError, "'scorer'", "on data first", "no weights yet", "model.build"),
    Mistake("a layer that is not registered", lambda s: models.load_model(s.folder / "m.gk"), errors.SavingError,
            "'Doubled'", "custom_objects=", "not known here", "utils.register_serializable",
            prepare=lambda s: over_tags(Doubled(name="double")).save(s.folder / "m.gk")),
    Mistake("a lambda that is saved",
            lambda s: over_tags(layers.Lambda(lambda x: x * 2, name="double")).save(s.folder / "m.gk"),
            errors.SavingError, "double.function", "a function with def", "no name", "utils.register_serializable"),
    Mistake("a number for a Keras model", lambda s: from_keras(3), errors.ArgumentError,
            "from_keras takes", "a Keras 3 model", "got 3", "models.load_model"),
    Mistake("export into a missing folder", lambda s: s.model.export(s.folder / FOLDER / "model.onnx"),
            errors.ExportError, "none", "the folder", "does not exist", "os.makedirs"),
    Mistake("export to a folder", lambda s: s.model.export(s.folder), errors.ExportError,
            "{folder}", "the name of the file", "is a folder", "model.export"),
    Mistake("an opset of long ago", lambda s: s.model.export(s.folder / "m.onnx", opset=11), errors.ArgumentError,
            "opset 11", "from 17 to", "not supported", "export(opset="),
    Mistake("a layer of Python alone", lambda s: text_model().export(s.folder / "m.onnx"), errors.ExportError,
            "words", "one of the rules", "a Python function", "TextVectorization(standardize="),
    Mistake("a subclass that was not called", lambda s: Scorer().export(s.folder / "m.onnx"), errors.ExportError,
            "'scorer'", "its inputs", "never called", "input_signature="),
    Mistake("a layer that carries states", lambda s: stateful().export(s.folder / "m.onnx"), errors.ExportError,
            "memory/state_0", "a file cannot", "keeps its states", "stateful=False"),
    Mistake("an output of no layer", lambda s: s.model.export(s.folder / "m.onnx", extra_outputs=["lstn"]),
            errors.ArgumentError, "'lstn'", "'lstm'", "no layer", "model.layers"),
    Mistake("a signature with a space", lambda s: s.model.export(s.folder / "m.onnx", signatures={"en code": s.model}),
            errors.ArgumentError, "'en code'", "letters, digits", "is no name", "export(signatures="),
    Mistake("a number for a signature", lambda s: s.model.export(s.folder / "m.onnx", signatures={"encode": 3}),
            errors.ArgumentError, "'encode'", "a pair (inputs, outputs)", "got a int", "gradient_of"),
    Mistake("a file that is not there", lambda s: s.model.verify_export(s.folder / "none.onnx"), errors.ExportError,
            "none.onnx", "an ONNX file", "there is no file", "model.export"),
    Mistake("a file of other weights", lambda s: s.model.verify_export(s.folder / "model.onnx"), errors.ExportError,
            "does not answer as 'tickets'", "the model gives", "weight 'look/embeddings' is", "model.export",
            prepare=other_file),
    Mistake("a file of another kind", lambda s: s.model.verify_export(s.folder / "model.onnx"), errors.ExportError,
            "/model.onnx", "is no ONNX file", "it holds no graph", "model.export", prepare=garbage("model.onnx")),
    Mistake("a picture in a missing folder", lambda s: utils.plot_model(s.model, s.folder / FOLDER / "m.png"),
            errors.ArgumentError, "none", "the folder", "does not exist", "os.makedirs"),
    Mistake("a picture of an unknown kind", lambda s: utils.plot_model(s.model, s.folder / "m.xyz"),
            errors.ArgumentError, "m.xyz", "dot, svg, png", "cannot plot", "plot_model"),
]  # fmt: skip
