"""Mistakes with data: what is handed to fit, evaluate and predict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphkit import callbacks, errors
from tests.mistakes.row import CLASSES, GOOD, IDS, IMAGES, ROWS, TAGS, TARGET, Mistake, digits

DROP = np.full_like(TAGS, np.nan)


def fit(scene: Any, y: Any = TARGET, given: Any = None, **changed: Any) -> None:
    """Fits the scene's model on good data but for what is given."""
    options = {k: changed.pop(k) for k in list(changed) if k not in GOOD}
    scene.model.fit({**GOOD, **changed} if given is None else given, y, **{"verbose": 0, **options})


def classify(x: Any, y: Any) -> Callable[[Any], Any]:
    """Fits the scene's model on these alone."""
    return lambda scene: scene.model.fit(x, y, verbose=0)


def classifier(loss: str, flat: bool = True) -> Callable[[Any], Any]:
    """Puts the model of digits in the scene."""
    return lambda scene: setattr(scene, "model", digits(loss, flat))


SPARSE, CATEGORICAL = "sparse_categorical_crossentropy", "categorical_crossentropy"

DATA = [
    Mistake("too few columns", lambda s: fit(s, tags=TAGS[:, :3]), errors.ShapeError,
            "'tags' has", "(None, 5)", "(7, 3)", "Input(shape="),
    Mistake("one row without its batch axis", lambda s: s.model.predict({**GOOD, "tags": TAGS[0]}), errors.ShapeError,
            "'tags'", "(None, 5)", "shape (5,)", "np.expand_dims"),
    Mistake("channels first", classify(np.moveaxis(IMAGES, -1, 1), CLASSES), errors.ShapeError,
            "'image'", "(None, 8, 9, 2)", "(6, 2, 8, 9)", "np.moveaxis",
            prepare=classifier(SPARSE)),
    Mistake("a wrong name", lambda s: fit(s, given={"ids": IDS, "tag": TAGS}), errors.ArgumentError,
            "unknown: 'tag';", "the names are 'ids', 'tags'", "missing: 'tags'", "model.input_names"),
    Mistake("arrays in the wrong order", lambda s: fit(s, given=[TAGS, IDS]), errors.ShapeError,
            "'tags' has", "(None, 5)", "(7, 3)", "np.reshape"),
    Mistake("one array of two", lambda s: fit(s, given=[IDS]), errors.ArgumentError,
            "'ids', 'tags'", "2 expected", "1 given", "model.input_names"),
    Mistake("one array for two inputs", lambda s: s.model.predict(TAGS), errors.ArgumentError,
            "'ids', 'tags'", "2 expected", "one array given", "model.input_names"),
    Mistake("fractions for ids", lambda s: fit(s, ids=IDS + 0.5), errors.DtypeError,
            "'ids'", "whole numbers (int64)", "got float64", "np.rint"),
    Mistake("NaN among the ids", lambda s: fit(s, ids=IDS * np.nan), errors.DtypeError,
            "'ids'", "whole numbers (int64)", "got float64", "Input(dtype="),
    Mistake("strings without TextVectorization", lambda s: fit(s, tags=np.full((ROWS, 5), "urgent")),
            errors.DtypeError, "'tags' has", "expected numbers", "<U6", "Input(dtype="),
    Mistake("numbers beyond float32", lambda s: fit(s, tags=np.full(TAGS.shape, 1e300)), errors.DtypeError,
            "'tags' holds", "at most 3.4e+38", "1e+300", "layers.Normalization"),
    Mistake("rows of different lengths", lambda s: fit(s, ids=[[1], [1, 2]] * 3 + [[1]]), errors.ShapeError,
            "'ids'", "one length", "rows of different lengths", "np.pad"),
    Mistake("unequal row counts", lambda s: fit(s, tags=TAGS[:5]), errors.ShapeError,
            "'target of score' has 7", "the same number of rows", "'tags' has 5", "np.shape"),
    Mistake("weights for other rows", lambda s: fit(s, sample_weight=np.ones(3)), errors.ShapeError,
            "'weight of score'", "the same number of rows", "has 3", "np.shape"),
    Mistake("an id outside the vocabulary", lambda s: fit(s, ids=IDS + 50, shuffle=False), errors.RangeError,
            "look", "[0, 11)", "index 51", "layers.Embedding(input_dim="),
    Mistake("a negative id for padding", lambda s: s.model.predict({**GOOD, "ids": IDS - 1}), errors.RangeError,
            "look", "[0, 11)", "index -1", "layers.Embedding(input_dim="),
    Mistake("NaN in the data", lambda s: fit(s, tags=DROP, callbacks=[callbacks.NaNFinder()]), errors.NonFiniteError,
            "'tags'", "as it was before", "is NaN in row", "np.isfinite"),
    Mistake("too many targets for one row", lambda s: fit(s, np.ones((ROWS, 2))), errors.ShapeError,
            "'score'", "of one shape", "(None, 2)", "losses.SparseCategoricalCrossentropy"),
    Mistake("one-hot labels with a sparse loss", classify(IMAGES, np.eye(3)[CLASSES]),
            errors.ShapeError, "'digit'", "expected y_true (None,)", "(None, 3)", "losses.CategoricalCrossentropy",
            prepare=classifier(SPARSE)),
    Mistake("class numbers with a categorical loss", classify(IMAGES, CLASSES),
            errors.ShapeError, "'digit'", "of one shape", "y_true (None,)", "losses.SparseCategoricalCrossentropy",
            prepare=classifier(CATEGORICAL)),
    Mistake("labels from 1", classify(IMAGES, CLASSES + 1), errors.RangeError,
            "output 'digit'", "[0, 3)", "label 3", "losses.SparseCategoricalCrossentropy(ignore_class=",
            prepare=classifier(SPARSE)),
    Mistake("a forgotten Flatten", classify(IMAGES, CLASSES), errors.ShapeError,
            "'digit'", "expected y_true (None, 8, 9)", "got (None,)", "layers.Flatten",
            prepare=classifier(SPARSE, flat=False)),
    Mistake("a target for no output", lambda s: fit(s, {"scores": TARGET}), errors.ArgumentError,
            "'scores'", "the outputs are 'score'", "targets name", "model.output_names"),
    Mistake("two targets for one output", lambda s: fit(s, [TARGET, TARGET]), errors.ArgumentError,
            "'score'", "expected 1", "2 targets given", "model.output_names"),
    Mistake("no target", lambda s: fit(s, None), errors.ArgumentError,
            "'score'", "expected a target", "got none", "model.fit"),
    Mistake("validation data without targets", lambda s: fit(s, validation_data=GOOD), errors.ArgumentError,
            "validation_data must", "(x, y) or (x, y, sample_weight)", "a dict", "model.fit(x, y, validation_data"),
    Mistake("validation data of another shape",
            lambda s: fit(s, validation_data=({**GOOD, "tags": TAGS[:, :2]}, TARGET)),
            errors.ShapeError, "validation_data: input 'tags'", "(None, 5)", "(7, 2)", "Input(shape="),
    Mistake("a split of a generator", lambda s: fit(s, None, iter([(GOOD, TARGET)]), validation_split=0.2),
            errors.ArgumentError, "validation_split=0.2", "x as arrays", "list_iterator", "validation_data="),
    Mistake("a split in percent", lambda s: fit(s, validation_split=20), errors.ArgumentError,
            "validation_split must", "between 0 and 1", "got 20", "validation_split=0.2"),
    Mistake("batches of one dict", lambda s: fit(s, None, iter([{**GOOD, "score": TARGET}])), errors.ArgumentError,
            "unknown: 'score'", "(x, y[, sample_weight])", "a dict with keys", "model.input_names"),
    Mistake("class weights as a list", lambda s: fit(s, class_weight=[1, 2]), errors.ArgumentError,
            "class_weight must", "classes to weights", "[1, 2]", "class_weight={"),
    Mistake("no rows in a batch", lambda s: fit(s, batch_size=0), errors.ArgumentError,
            "batch_size must", "a positive whole number", "got 0", "batch_size=32"),
    Mistake("epochs as text", lambda s: fit(s, epochs="5"), errors.ArgumentError,
            "fit: epochs must", "a whole number", "got '5'", "epochs=3"),
]  # fmt: skip
