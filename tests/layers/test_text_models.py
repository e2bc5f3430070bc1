"""Models that take text: trained, traced anew, saved, shown, run with sizes that the data tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import graphkit
from graphkit import Input, Model, errors, layers, models, ops

TEXTS = ["good film", "a bad film", "bad, bad!", "a good good one", "good", "the bad one", "so bad a film", "good one"]
RIGHT = np.array([1, 0, 0, 1, 1, 0, 0, 1])


def sentiment(length: int | None, **options: Any) -> Model:
    words = layers.TextVectorization(output_sequence_length=length, name="words", **options)
    words.adapt(TEXTS)
    text = Input((), dtype="string", name="text")
    x = words(text)
    if words.output_mode == "int":
        x = layers.Embedding(words.vocabulary_size(), 3, mask_zero=True)(x)
        x = layers.GlobalAveragePooling1D()(x)
    model = Model(text, layers.Dense(1, activation="sigmoid", name="good")(x), name="sentiment")
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


@pytest.mark.parametrize("length", [5, None])
@pytest.mark.parametrize("options", [{}, {"output_mode": "multi_hot"}, {"ngrams": 2}])
def test_it_learns_and_eager_is_compiled(length: int | None, options: dict[str, Any]) -> None:
    if "output_mode" in options and length:
        length = None
    found = []
    for eagerly in (False, True):
        graphkit.utils.set_random_seed(0)
        model = sentiment(length, **options)
        model.compile(graphkit.optimizers.Adam(0.1), "binary_crossentropy", run_eagerly=eagerly)
        losses = model.fit(TEXTS, RIGHT, batch_size=3, epochs=8, verbose=0).history["loss"]
        assert losses[-1] < losses[0] / 4
        found.append((losses, model.predict(TEXTS)))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-4)
    np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-4)
    assert ((found[0][1][:, 0] > 0.5) == RIGHT).all()


def test_data_come_in_every_way() -> None:
    model = sentiment(None)
    y = RIGHT[:, None]
    want = model.evaluate(TEXTS, y, verbose=0)[0]
    for x in (np.array(TEXTS), np.array(TEXTS, object), {"text": TEXTS}, [t.encode() for t in TEXTS]):
        assert model.evaluate(x, y, verbose=0)[0] == pytest.approx(want, rel=1e-6)
    dataset = graphkit.Dataset.from_arrays(np.array(TEXTS, object), y).batch(8)
    assert model.evaluate(dataset, verbose=0)[0] == pytest.approx(want, rel=1e-6)
    model.fit(dataset, epochs=1, verbose=0)
    model.fit({"text": TEXTS}, y, validation_split=0.25, epochs=1, verbose=0)
    assert model.train_on_batch(np.array(TEXTS, object), y)
    with pytest.raises(errors.DtypeError, match=r"target.*: strings are no numbers; look them up"):
        model.fit(TEXTS, TEXTS, verbose=0)


def test_a_new_vocabulary_is_a_new_trace() -> None:
    model = sentiment(4, max_tokens=20)
    model.fit(TEXTS, RIGHT, epochs=1, verbose=0)
    seen = Model(model.inputs, model.get_layer("words").output)
    before = seen.predict(["one new word"])
    model.get_layer("words").set_vocabulary(["word", "new"])
    after = seen.predict(["one new word"])
    assert before[0, 0] > 1
    assert after.tolist() == [[1, 3, 2, 0]]
    np.testing.assert_array_equal(np.asarray(seen(np.array(["one new word"], object))), after)


@pytest.mark.parametrize("options", [{}, {"output_mode": "tf_idf"}, {"ngrams": (1, 3)}, {"max_tokens": 6}])
def test_saved_it_has_its_vocabulary(options: dict[str, Any], tmp_path: Path) -> None:
    model = sentiment(None, **options)
    model.fit(TEXTS, RIGHT, epochs=2, verbose=0)
    model.save(tmp_path / "model.gk")
    other = models.load_model(tmp_path / "model.gk")
    words = model.get_layer("words")
    assert other.get_layer("words").get_vocabulary() == words.get_vocabulary()
    unseen = [*TEXTS, "", "É unknown, good"]
    np.testing.assert_array_equal(other.predict(unseen), model.predict(unseen))
    one, two = (m.fit(TEXTS, RIGHT, epochs=1, verbose=0, shuffle=False).history["loss"] for m in (model, other))
    assert one == two


def test_labels_that_training_never_saw_come_back_too(tmp_path: Path) -> None:
    model = sentiment(4)
    label = layers.StringLookup(vocabulary=["bad", "göod"], num_oov_indices=0, invert=True, name="label")
    outputs = label(ops.cast(ops.greater(ops.squeeze(model.output, -1), 0.5), "int64"))
    whole = Model(model.inputs, {"label": outputs, "score": model.output}, name="whole")
    whole.save(tmp_path / "whole.gk")
    found = models.load_model(tmp_path / "whole.gk").predict(TEXTS)
    want = ["göod" if s > 0.5 else "bad" for s in model.predict(TEXTS)[:, 0]]
    assert found["label"].tolist() == want
    report = whole.export(tmp_path / "whole.onnx")
    assert report.outputs["label"]["error"] == 0
    session = onnxruntime.InferenceSession(str(tmp_path / "whole.onnx"), providers=["CPUExecutionProvider"])
    served = dict(
        zip([o.name for o in session.get_outputs()], session.run(None, {"text": np.array(TEXTS, object)}), strict=True)
    )
    assert served["label"].tolist() == want


def test_the_summary_and_the_direct_call(capsys: pytest.CaptureFixture[str]) -> None:
    model = sentiment(None)
    model.summary()
    told = capsys.readouterr().out
    assert "words (TextVectorization)" in told
    assert "(None, None)" in told
    np.testing.assert_allclose(np.asarray(model(np.array(TEXTS, object))), model.predict(TEXTS), atol=1e-6)


def test_sizes_that_the_data_tell() -> None:
    """Two texts of their own lengths, their sizes used in reshapes and in arithmetic, batches of other lengths."""
    one, two = (Input((), dtype="string", name=n) for n in ("one", "two"))
    words = layers.TextVectorization(vocabulary=["a", "b", "c"], name="words")
    first, second = words(one), words(two)
    flat = ops.reshape(ops.transpose(first), (-1,))
    both = ops.concatenate([first, second], 1)
    model = Model([one, two], {"flat": flat, "both": both, "long": ops.sum(ops.ones_like(second), 1)})
    for given in (["a b", "c"], ["b"]), (["a"], ["a b c a", "", "b"][:1]):
        x = {"one": given[0], "two": (given[1] * 2)[: len(given[0])]}
        found = model.predict(x)
        a, b = (np.asarray(words(x[n])) for n in ("one", "two"))
        np.testing.assert_array_equal(found["both"], np.concatenate([a, b], 1))
        np.testing.assert_array_equal(found["flat"], a.T.reshape(-1))
        np.testing.assert_array_equal(found["long"], [b.shape[1]] * len(b))


def test_a_size_that_follows_from_numbers_has_no_plan() -> None:
    place = Input((), dtype="int64", name="place")
    text = layers.StringLookup(vocabulary=["a b", "c"], num_oov_indices=0, invert=True)(place)
    model = Model(place, layers.TextVectorization(vocabulary=["a", "c"], name="words")(text))
    with pytest.raises(errors.StateError, match=r"words: the size .* give it a fixed size"):
        model.predict(np.array([0, 1]))
    fixed = layers.TextVectorization(vocabulary=["a", "c"], output_sequence_length=2)
    np.testing.assert_array_equal(Model(place, fixed(text)).predict(np.array([0, 1])), [[2, 1], [3, 0]])


def test_adapt_takes_arrays_lists_and_batches() -> None:
    batches = [np.array(TEXTS[:3]), np.array(TEXTS[3:])]
    layer = layers.TextVectorization()
    found = []
    for data in (TEXTS, np.array(TEXTS, object), iter(batches), [(b, b) for b in batches], [[t] for t in TEXTS]):
        layer.adapt(data)
        found.append(layer.get_vocabulary())
    assert all(f == found[0] for f in found)
    layer.adapt(iter(batches), steps=1)
    assert layer.get_vocabulary()[2:] == ["bad", "film", "good", "a"]
    with pytest.raises(errors.ArgumentError, match="adapt found no token"):
        layer.adapt(["...", ""])
    with pytest.raises(errors.DtypeError, match="expected strings, got 3"):
        layer.adapt(["a", 3])


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: layers.StringLookup(vocabulary=["a", "b", "a"]), "'a' stands twice"),
        (lambda: layers.StringLookup(vocabulary=["a", ""], mask_token=""), "the mask token '' stands in it"),
        (lambda: layers.StringLookup(vocabulary=[]), "no token"),
        (lambda: layers.StringLookup(vocabulary="words.txt"), "vocabulary is a list of tokens, got 'words.txt'; read"),
        (lambda: layers.StringLookup(vocabulary=["a"], output_mode="tf_idf"), "idf_weights are given if and only if"),
        (lambda: layers.StringLookup(vocabulary=["a"], idf_weights=[1.0]), "idf_weights are given if and only if"),
        (lambda: layers.StringLookup(vocabulary=["a"], output_mode="tf_idf", idf_weights=[1, 2]), "2 idf_weights"),
        (lambda: layers.StringLookup(idf_weights=[1.0]), "idf_weights go with a vocabulary"),
        (lambda: layers.StringLookup(pad_to_max_tokens=True), "pad_to_max_tokens needs it"),
        (lambda: layers.StringLookup(encoding="latin-1"), "encoding is 'utf-8', got 'latin-1'"),
        (lambda: layers.StringLookup(invert=True, output_mode="count"), "invert goes with output_mode 'int'"),
        (lambda: layers.TextVectorization(standardize="upper"), "standardize is one of"),
        (lambda: layers.TextVectorization(split=" "), "split is one of"),
        (lambda: layers.TextVectorization(ngrams=0), "ngrams is a number from 1 on"),
        (lambda: layers.TextVectorization(output_mode="count", output_sequence_length=3), "goes with output_mode"),
        (lambda: layers.TextVectorization(ragged=True), "ragged is False"),
        (lambda: layers.TextVectorization(3, vocabulary=["a", "b"]), "more than max_tokens 3"),
    ],
)  # fmt: skip
def test_what_cannot_be_says_why(make: Any, told: str) -> None:
    with pytest.raises(errors.ArgumentError, match=told):
        make()


def test_what_is_unknown_where_all_must_be_known() -> None:
    layer = layers.StringLookup(vocabulary=["a", "b"], num_oov_indices=0, name="known")
    np.testing.assert_array_equal(layer([["b", "a"]]), [[1, 0]])
    with pytest.raises(errors.RangeError, match=r"known: .*\(0, 1\)"):
        layer([["b", "c"]])
    with pytest.raises(errors.StateError, match="no vocabulary yet"):
        layers.StringLookup()(["a"])
    with pytest.raises(errors.ShapeError, match=r"\(batch,\) or \(batch, 1\), got \(2, 2\)"):
        layers.TextVectorization(vocabulary=["a"])(np.array([["a", "b"], ["c", "d"]]))


def test_tools_that_run_a_step_know_text() -> None:
    """A profile where sizes are fixed, an error that says so where not; a NaN found behind text of any length."""
    data = np.array(TEXTS, object)
    assert "words" in str(sentiment(5).profile(data, RIGHT, steps=2))
    with pytest.raises(errors.StateError, match=r"profile: .*'words'.*output_sequence_length"):
        sentiment(None).profile(data, RIGHT, steps=2)
    model = sentiment(None)
    model.get_layer("good").kernel.assign(np.full((3, 1), np.nan))
    with pytest.raises(errors.GraphkitError, match="good"):
        model.fit(data, RIGHT, verbose=0, callbacks=[graphkit.callbacks.NaNFinder()])
