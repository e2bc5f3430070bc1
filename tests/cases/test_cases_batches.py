"""Case 106 where data meet the model: which output, batch, input and layer; bare ops; and 103 after build with None."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from graphkit import Input, Layer, Model, Sequential, errors, layers, ops
from tests.cases.test_cases_shapes import HERE as SHAPES
from tests.cases.test_cases_tooling import NAMES, Net, rows, total

X = np.ones((7, 3), np.float32)


# 106: fit with a target of the wrong width


def two_outputs() -> Model:
    x = Input((3,), name="x")
    return Model(x, {"p": layers.Dense(4, name="h1")(x), "q": layers.Dense(2, name="h2")(x)})


@pytest.mark.parametrize("eagerly", [False, True])
@pytest.mark.parametrize(("output", "width", "wrong"), [("p", 4, 5), ("q", 2, 3)])
def test_case_106_a_target_of_the_wrong_width_names_output_and_widths(
    output: str, width: int, wrong: int, eagerly: bool
) -> None:
    model = two_outputs()
    model.compile("sgd", "mse", run_eagerly=eagerly)
    targets = {"p": np.ones((7, 4)), "q": np.ones((7, 2)), output: np.ones((7, wrong))}
    before = model.get_weights()
    for do in (model.fit, model.evaluate):
        with pytest.raises(errors.ShapeError) as caught:
            do(X, targets, verbose=0)
        batch = "7" if eagerly else "None"
        assert str(caught.value).startswith(
            f"output {output!r}: mean_squared_error needs y_true and y_pred of one shape"
        )
        assert f"got y_true ({batch}, {wrong}) and y_pred ({batch}, {width})" in str(caught.value)
        assert f"; in batch 1: x (7, 3), target p (7, {targets['p'].shape[1]}), target q" in str(caught.value)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize(("width", "wrong"), [(4, 5), (11, 3)])
def test_case_106_one_output_and_a_metric(width: int, wrong: int) -> None:
    x = Input((3,), name="x")
    model = Model(x, layers.Dense(width, name="h1")(x))
    model.compile("sgd", "mse")
    with pytest.raises(errors.ShapeError, match=rf"output 'h1': .* \(None, {wrong}\) and y_pred \(None, {width}\)"):
        model.fit(X, np.ones((7, wrong)), verbose=0)
    model.compile("sgd", lambda y, p: ops.mean(p) * ops.ones((1,)), metrics=["mae"])
    with pytest.raises(errors.ShapeError, match=rf"output 'h1': .*\(None, {wrong}\).*\(None, {width}\)"):
        model.fit(X, np.ones((7, wrong)), verbose=0)


# 106: a mismatch that free sizes hide


def hidden(kind: str) -> Model:
    a, b = Input((None, 2), name="a"), Input((None, 2), name="b")
    joined = layers.Add(name="join")([a, b]) if kind == "Add" else layers.Concatenate(name="join")([a, b])
    i = Input((None, joined.shape[-1]), name="i")
    enc = Model(i, layers.Dense(1, name="k")(i), name="enc")
    model = Model([a, b], enc(joined), name="m")
    model.compile("sgd", "mse")
    return model


def batches(lengths: list[tuple[int, int]], targets: bool) -> Iterator[Any]:
    for first, second in lengths:
        given = (np.ones((5, first, 2)), np.ones((5, second, 2)))
        yield (given, np.ones((5, first, 1))) if targets else (given,)


Doing = Callable[[Model, list[tuple[int, int]]], Any]
DO: dict[str, Doing] = {
    "fit": lambda model, given: model.fit(batches(given, True), verbose=0),
    "evaluate": lambda model, given: model.evaluate(batches(given, True)),
    "predict": lambda model, given: model.predict(batches(given, False)),
    "validation": lambda model, given: model.fit(
        next(batches([(3, 3)], True))[0], np.ones((5, 3, 1)), validation_data=list_of(given), verbose=0
    ),
}


def list_of(lengths: list[tuple[int, int]]) -> Any:
    """Batches that can be looped over again."""

    class Batches:
        def __iter__(self) -> Iterator[Any]:
            return batches(lengths, True)

    return Batches()


@pytest.mark.parametrize("kind", ["Add", "Concatenate"])
@pytest.mark.parametrize("do", DO)
@pytest.mark.parametrize(("good", "bad"), [([(3, 3), (7, 7)], (3, 5)), ([], (2, 11))], ids=["third", "first"])
def test_case_106_a_hidden_mismatch_names_batch_inputs_and_layer(do: str, kind: str, good: Any, bad: Any) -> None:
    with pytest.raises(errors.ShapeError) as caught:
        DO[do](hidden(kind), [*good, bad, (3, 3)])
    text = str(caught.value)
    one, other = f"(5, {bad[0]}, 2)", f"(5, {bad[1]}, 2)"
    assert text.startswith(
        f"join: {'Add cannot broadcast' if kind == 'Add' else 'cannot concatenate'} {one} with {other}"
    )
    assert f"in batch {len(good) + 1}: a {one}, b {other}" in text


def test_case_106_rows_of_arrays_and_single_batches() -> None:
    model = hidden("Add")
    given = [np.ones((7, 3, 2)), np.ones((7, 5, 2))]
    with pytest.raises(errors.ShapeError, match=r"in batch 1: a \(5, 3, 2\), b \(5, 5, 2\)$"):
        model.predict(given, batch_size=5)
    with pytest.raises(
        errors.ShapeError, match=r"in this batch: a \(7, 3, 2\), b \(7, 5, 2\), target of enc \(7, 3, 1\)$"
    ):
        model.train_on_batch(given, np.ones((7, 3, 1)))


@pytest.mark.parametrize("number", [0, 3])
def test_case_106_a_batch_that_is_no_input_is_counted_too(number: int) -> None:
    def give() -> Iterator[Any]:
        for n in range(5):
            yield np.ones((5, 3 if n != number else 2), np.float32), np.ones((5, 1))

    x = Input((3,), name="x")
    model = Model(x, layers.Dense(1)(x))
    model.compile("sgd", "mse")
    with pytest.raises(errors.ShapeError, match=rf"'x' has shape \(5, 2\), .*\(None, 3\).*; in batch {number + 1}$"):
        model.fit(give(), verbose=0)


# 106: ops on symbols outside of layers


BARE: list[tuple[str, str, str, Callable[[Any, Any], Any]]] = [
    ("x + z", "(None, 3)", "(None, 5)", lambda x, z: x + z),
    ("ops.matmul", "(None, 3)", "(7, 2)", lambda x, z: ops.matmul(x, np.ones((7, 2), np.float32))),
    ("ops.concatenate", "(None, 3)", "(None, 5)", lambda x, z: ops.concatenate([x, z], axis=0)),
    ("ops.where", "(None, 3)", "(None, 5)", lambda x, z: ops.where(x > 0, x, z)),
]


@pytest.mark.parametrize(("code", "one", "other", "do"), BARE, ids=[b[0] for b in BARE])
def test_case_106_an_op_on_symbols_names_the_line(code: str, one: str, other: str, do: Any) -> None:
    with pytest.raises(errors.ShapeError) as caught:
        do(Input((3,), name="x"), Input((5,), name="z"))
    assert one in str(caught.value)
    assert other in str(caught.value)
    here = SHAPES.parent / "test_cases_batches.py"
    found = re.search(rf"; at {re.escape(str(here))}:(\d+)$", str(caught.value))
    assert code in here.read_text().splitlines()[int(found[1]) - 1]


# 103: after build with None


@pytest.mark.parametrize(("width", "first"), [(3, 7), (2, 11)])
def test_case_103_after_build_with_none(width: int, first: int) -> None:
    model, called = Net(first), Net(first)
    model.build((None, None, width))
    for steps in (5, 13):
        called(np.ones((2, steps, width), np.float32))
    assert rows(model) == rows(called)
    assert rows(model)["b0 (Dense)"] == (f"(None, None, {first})", width * first + first)
    assert list(rows(model)) == NAMES
    assert total(model) == sum(w.size for w in model.get_weights()) == total(called)
    weights = [id(w) for w in model.weights]
    model(np.ones((2, 7, width), np.float32))
    assert [id(w) for w in model.weights] == weights


class Two(Model):
    """Two inputs, and a build of its own that makes a weight once."""

    def __init__(self) -> None:
        super().__init__(name="two")
        self.left, self.right, self.made = layers.Dense(5, name="left"), layers.Dense(5, name="right"), 0

    def build(self, input_shape: Any) -> None:
        self.made += 1
        self.scale = self.add_weight((), "ones", name="scale")
        super().build(input_shape)

    def call(self, a: Any, b: Any) -> Any:
        return (self.left(a) + self.right(b)) * self.scale


@pytest.mark.parametrize("shape", [{"a": (None, 3), "b": (None, 2)}, [(None, 3), (None, 2)]], ids=["names", "places"])
def test_case_103_several_inputs_are_built_by_name_or_place(shape: Any) -> None:
    model = Two()
    model.build(shape)
    assert rows(model) == {"left (Dense)": ("(None, 5)", 20), "right (Dense)": ("(None, 5)", 15)}
    assert total(model) == 36
    model([np.ones((7, 3), np.float32), np.ones((7, 2), np.float32)])
    assert (model.made, len(model.weights)) == (1, 5)


def test_case_103_inner_subclasses_and_sequentials_build_as_before() -> None:
    class Outer(Model):
        def __init__(self) -> None:
            super().__init__(name="outer")
            self.parts: list[Layer] = [Net(), Sequential([layers.Dense(2, name="k")], name="enc")]

        def call(self, x: Any) -> Any:
            return self.parts[1](self.parts[0](x)[0])

    model = Outer()
    model.build((None, 13, 3))
    assert rows(model) == {"net (Net)": ("(None, 13, 5), (None, 3)", 127), "enc (Sequential)": ("(None, 13, 2)", 12)}
    stack = Sequential([layers.Dense(2, name="k")])
    stack.build((None, 3))
    assert rows(stack)["k (Dense)"] == ("(None, 2)", 8)
