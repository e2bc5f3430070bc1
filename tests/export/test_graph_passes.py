"""Each pass over a graph made by hand: fewer nodes, and onnx's own reference gives what it gave before."""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import Any

import numpy as np
import pytest

from graphkit.core.spec import Spec
from graphkit.export.absorb import absorb, squeezed_reductions
from graphkit.export.batch_norm import folded, normalizations
from graphkit.export.cut import source_side
from graphkit.export.duplicates import without_duplicates
from graphkit.export.fold import fold
from graphkit.export.net import Net, plain_shape
from graphkit.export.recurrences import recurrences
from graphkit.export.reshapes import (
    joined_reshapes,
    joined_transposes,
    scales_behind_transposes,
    without_idle_transposes,
)
from graphkit.export.transposes import without_transposes
from graphkit.export.units import repeats
from tests.export.made import BACK, FLOAT, FRONT, B, Made, T, rewritten


def test_sizes_that_are_copied_or_left_over_are_constants() -> None:
    def build(m: Made) -> None:
        m.input("x", B, 2, 3)
        flat = m.node("Reshape", ["x", m.b.sizes((B, 6))], "flat", B, 6, allowzero=1)
        wide = m.node("Unsqueeze", [flat, m.b.constant([1])], "wide", B, 1, 6)
        m.node("Expand", [wide, m.b.sizes((B, 4, 6))], "spread", B, 4, 6)
        m.node("Reshape", ["spread", m.b.sizes((B * 4, 6))], "y", B * 4, 6, allowzero=1)

    assert rewritten(build, fold) == {"Reshape": 2, "Unsqueeze": 1, "Expand": 1}


@pytest.mark.parametrize(("dims", "before", "shape"), [
    ((B, 6), (B, 2, 3), [0, 6]),
    ((B * T, 6), (B, T, 6), [-1, 6]),
    ((B, T * 2), (B, T, 2), None),
    ((T, B), (B, T), None),
    ((B, T, 1), (B, T), [0, 0, 1]),
    ((B, 0), (B, 0), None),
    ((6, 4), (2, 12), [6, 4]),
])  # fmt: skip
def test_a_shape_is_a_constant_only_where_no_size_of_zero_makes_it_another(dims: Any, before: Any, shape: Any) -> None:
    """Beside a size that may be 0, -1 has no meaning, so two free sizes of which one is new are computed."""
    assert plain_shape(dims, before) == shape


def test_free_sizes_stay_computed() -> None:
    def build(m: Made) -> None:
        m.input("x", B, T, 2)
        m.node("Reshape", ["x", m.b.sizes((B, T * 2))], "y", B, T * 2, allowzero=1)

    assert rewritten(build, fold)["Shape"] == 2


def test_a_static_size_that_shape_gives_is_a_number_and_weights_are_computed_once() -> None:
    def build(m: Made) -> None:
        m.input("x", B, 4)
        m.weight("w", 3, 4)
        m.node("Gather", [m.node("Shape", ["x"], "shape"), m.b.constant([1])], "size", axis=0)
        m.node("Reshape", [m.node("Transpose", ["w"], "wt", 4, 3, perm=[1, 0]), m.b.constant([4, 3])], "wr", 4, 3)
        m.node("MatMul", ["x", "wr"], "z", B, 3)
        m.node("Reshape", ["z", m.node("Concat", [m.b.constant([-1]), m.b.constant([3])], "s", axis=0)], "y0", B, 3)
        m.node("Expand", ["y0", m.node("Concat", [m.b.constant([1]), m.b.constant([1])], "o", axis=0)], "y", B, 3)

    assert rewritten(build, fold) == {"MatMul": 1, "Reshape": 1, "Expand": 1}


def test_a_weight_that_others_read_is_not_written_twice() -> None:
    def build(m: Made) -> None:
        m.input("x", B, T, dtype="int64")
        m.weight("w", 50, 40)
        m.node("Gather", ["w", "x"], "rows", B, T, 40)
        m.node("MatMul", ["rows", m.node("Transpose", ["w"], "turned", 40, 50, perm=[1, 0])], "y", B, T, 50)

    assert rewritten(build, fold)["Transpose"] == 1


def test_a_product_with_a_turned_weight_and_a_bias_is_one_node_over_the_weight_itself() -> None:
    def build(m: Made) -> None:
        m.input("x", B, 4)
        m.weight("w", 3, 4)
        m.weight("bias", 3)
        m.node("MatMul", ["x", m.node("Transpose", ["w"], "wt", 4, 3, perm=[1, 0])], "p", B, 3)
        m.node("Add", ["bias", "p"], "y", B, 3)

    assert rewritten(build, absorb) == {"Gemm": 1}


def test_repeated_nodes_are_one_but_outputs_keep_their_names() -> None:
    def build(m: Made) -> None:
        m.input("x", B, 4)
        for n in ("a", "b2"):
            m.node("Exp", [m.node("Neg", ["x"], f"{n}/neg", B, 4)], n, B, 4)
        m.node("Add", ["a", "b2"], "y", B, 4)
        m.node("Exp", ["a/neg"], "z", B, 4)

    assert rewritten(build, without_duplicates, outputs=("y", "z")) == {"Neg": 1, "Exp": 2, "Add": 1}


def test_random_nodes_are_never_one() -> None:
    made = Made()
    for name in ("a", "c"):
        made.b.node("RandomNormal", [], [name], shape=[2])
    made.node("Sub", ["a", "c"], "y", 2)
    without_duplicates(Net(made.b, ["y"], ()))
    assert Counter(n.op_type for n in made.b.nodes)["RandomNormal"] == 2


def test_transposes_in_a_row_are_one_or_none() -> None:
    def build(m: Made) -> None:
        m.input("x", B, T, 5)
        m.node("Transpose", ["x"], "one", T, B, 5, perm=[1, 0, 2])
        m.node("Transpose", ["one"], "two", B, T, 5, perm=[1, 0, 2])
        m.node("Transpose", ["one"], "three", T, 5, B, perm=[0, 2, 1])
        m.node("Transpose", ["three"], "z", 5, B, T, perm=[1, 2, 0])
        m.node("Exp", ["two"], "y", B, T, 5)

    assert rewritten(build, joined_transposes, outputs=("y", "z")) == {"Exp": 1, "Transpose": 1}


@pytest.mark.parametrize(("dims", "found"), [
    ((B, 4, 4, 1), {"Reshape": 1}),
    ((B, 1, 1, 6), {"Reshape": 1}),
    ((B, T, 4, 1), {"Reshape": 1}),
    ((B, 4, 4, 2), {"Transpose": 1}),
])  # fmt: skip
def test_a_transpose_that_moves_ones_alone_is_a_reshape(dims: tuple[Any, ...], found: dict[str, int]) -> None:
    def build(m: Made) -> None:
        m.input("x", *dims)
        m.node("Transpose", ["x"], "y", *(dims[a] for a in FRONT), perm=FRONT)

    kinds = rewritten(build, without_idle_transposes)
    assert kinds == found or (dims[1] is T and kinds == {"Squeeze": 1, "Unsqueeze": 1})


def test_reshapes_in_a_row_are_one_or_none() -> None:
    def build(m: Made) -> None:
        m.input("x", B, 6)
        m.node("Reshape", ["x", m.b.constant([0, 2, 3])], "one", B, 2, 3)
        m.node("Reshape", ["one", m.b.constant([0, 3, 2])], "z", B, 3, 2)
        m.node("Reshape", ["one", m.b.constant([0, 6])], "two", B, 6)
        m.node("Exp", ["two"], "y", B, 6)

    assert rewritten(build, joined_reshapes, outputs=("y", "z")) == {"Exp": 1, "Reshape": 1}


@pytest.mark.parametrize("opset", [17, 20])
def test_a_sum_divided_by_its_count_is_a_mean_that_drops_its_axes(opset: int) -> None:
    def build(m: Made) -> None:
        m.input("x", B, 4, 3, 2)
        m.b.node("ReduceSum", ["x", m.b.constant([1, 2])], ["sum"], keepdims=1)
        m.b.typed("sum", Spec((B, 1, 1, 2), FLOAT))
        m.node("Reshape", ["sum", m.b.constant([0, 2])], "flat", B, 2)
        m.node("Div", ["flat", m.b.constant(12.0, np.float32)], "y", B, 2)

    assert rewritten(build, absorb, squeezed_reductions, opset=opset) == {"ReduceMean": 1}


def test_a_sum_divided_by_another_number_is_none() -> None:
    def build(m: Made) -> None:
        m.input("x", B, 4)
        m.node("ReduceSum", ["x", m.b.constant([1])], "sum", B, 1, keepdims=1)
        m.node("Div", ["sum", m.b.constant(3.0, np.float32)], "y", B, 1)

    assert rewritten(build, absorb) == {"ReduceSum": 1, "Div": 1}


def test_a_number_is_multiplied_behind_a_transpose() -> None:
    """There onnxruntime makes it part of the matrix product; a factor for each place stays where it is."""

    def build(m: Made, factor: Any) -> None:
        m.input("x", B, T, 2, 3)
        product = m.node("Mul", ["x", factor(m)], "product", B, T, 2, 3)
        m.node("Transpose", [product], "y", B, 2, T, 3, perm=[0, 2, 1, 3])

    def order(factor: Any) -> list[str]:
        made = Made()
        build(made, factor)
        scales_behind_transposes(Net(made.b, ["y"], ()))
        return [n.op_type for n in made.b.nodes]

    def number(m: Made) -> str:
        return m.b.constant(0.5, np.float32)

    assert order(number) == ["Transpose", "Mul"]
    assert order(lambda m: m.weight("w", 3)) == ["Mul", "Transpose"]
    assert rewritten(lambda m: build(m, number), scales_behind_transposes) == {"Transpose": 1, "Mul": 1}


def convolved(m: Made, x: str, name: str, channels: int, bias: bool = False) -> str:
    """Conv between its transposes, 3 x 3 of the same sizes."""
    dims = m.b.spec(x).dims
    kernel = m.weight(f"{name}/kernel", channels, dims[-1], 3, 3)  # type: ignore[arg-type] # channels are numbers
    front = m.node("Transpose", [x], f"{name}/front", dims[0], dims[-1], *dims[1:-1], perm=FRONT)
    m.node("Conv", [front, kernel], f"{name}/conv", dims[0], channels, *dims[1:-1], pads=[1, 1, 1, 1])
    after = m.node("Transpose", [f"{name}/conv"], f"{name}/back", *dims[:-1], channels, perm=BACK)
    return m.node("Add", [m.weight(f"{name}/bias", channels), after], name, *dims[:-1], channels) if bias else after


def test_a_bias_goes_into_its_convolution() -> None:
    def build(m: Made) -> None:
        m.input("x", B, T, 5, 2)
        m.node("Relu", [convolved(m, "x", "c", 3, bias=True)], "y", B, T, 5, 3)

    assert rewritten(build, absorb) == {"Transpose": 2, "Conv": 1, "Relu": 1}


def test_a_stack_has_a_transpose_at_each_end() -> None:
    """Through a bias, an addition, a concatenation along channels, padding, slices, a reduction and a softmax."""

    def build(m: Made) -> None:
        m.input("x", B, T, 5, 2)
        one = m.node("Tanh", [convolved(m, "x", "c1", 3, bias=True)], "one", B, T, 5, 3)
        two = m.node("Mul", [one, convolved(m, one, "c2", 3)], "two", B, T, 5, 3)
        both = m.node("Concat", [two, one], "both", B, T, 5, 6, axis=-1)
        whole = m.node("ReduceMax", [both, m.b.constant([-1])], "whole", B, T, 5, 1, keepdims=1)
        less = m.node("Sub", [both, whole], "less", B, T, 5, 6)
        shares = m.node("Softmax", [less], "shares", B, T, 5, 6, axis=3)
        wide = m.node("Pad", [shares, m.b.constant([0, 0, 1, 0, 0, 0, 2, 1])], "wide", B, T, 8, 7)
        cut = [m.b.constant([n]) for n in (1, 6, 2)]
        narrow = m.node("Slice", [wide, *cut], "narrow", B, T, 5, 7)
        m.node("Sigmoid", [convolved(m, narrow, "c3", 4)], "y", B, T, 5, 4)

    kinds = rewritten(build, lambda net: without_transposes(net, {}))
    assert kinds["Transpose"] == 2
    assert rewritten(build, absorb, lambda net: without_transposes(net, {}))["Transpose"] == 2


def test_an_output_in_the_middle_is_in_its_own_layout() -> None:
    def build(m: Made) -> None:
        m.input("x", B, T, 5, 2)
        m.node("Relu", [convolved(m, "x", "c1", 3)], "inner", B, T, 5, 3)
        m.node("Relu", [convolved(m, "inner", "c2", 4)], "y", B, T, 5, 4)

    kinds = rewritten(build, lambda net: without_transposes(net, {}), outputs=("y", "inner"))
    assert kinds["Transpose"] == 3


def test_slices_repeated_along_both_axes_are_one_resize() -> None:
    def build(m: Made) -> None:
        m.input("x", B, 4, 5, 2)
        x, dims = convolved(m, "x", "c1", 3), [B, 4, 5, 3]
        for axis, name in ((1, "tall"), (2, "large")):
            wide = [*dims[: axis + 1], 1, *dims[axis + 1 :]]
            spread = [*dims[: axis + 1], 3, *dims[axis + 1 :]]
            dims[axis] = dims[axis] * 3
            x = m.node("Reshape", [x, m.b.sizes(wide)], f"{name}/wide", *wide)
            x = m.node("Expand", [x, m.b.sizes(spread)], f"{name}/spread", *spread)
            x = m.node("Reshape", [x, m.b.sizes(dims)], name, *dims)
        m.node("Neg", [convolved(m, x, "c2", 2)], "y", B, 12, 15, 2)

    found = rewritten(build, lambda net: without_transposes(net, repeats(net)), fold)
    assert found == {"Transpose": 2, "Conv": 2, "Resize": 1, "Neg": 1}


def normalized(m: Made, x: str, name: str, far: float = 0.0) -> str:
    """Batch normalization as a layer writes it."""
    dims = m.b.spec(x).dims
    size = int(dims[-1])  # type: ignore[arg-type] # channels are numbers
    mean, variance, gamma, beta = (m.weight(f"{name}/{w}", size) for w in ("mean", "variance", "gamma", "beta"))
    m.b.initializers[variance][...] = np.abs(m.b.initializers[variance]) + 0.5
    m.b.initializers[mean][...] += far
    less = m.node("Sub", [x, mean], f"{name}/less", *dims)
    more = m.node("Add", [variance, m.b.constant(1e-3, np.float32)], f"{name}/more", size)
    root = m.node("Sqrt", [more], f"{name}/root", size)
    one = m.node("Div", [m.b.constant(1.0, np.float32), root], f"{name}/one", size)
    factor = m.node("Mul", [one, gamma], f"{name}/factor", size)
    product = m.node("Mul", [less, factor], f"{name}/product", *dims)
    return m.node("Add", [product, beta], name, *dims)


@pytest.mark.parametrize(("far", "asked", "found"), [
    (0.0, False, {"BatchNormalization": 1}),
    (0.0, True, {}),
    (1e4, False, {"Sub": 1, "Mul": 1, "Add": 1}),
])  # fmt: skip
def test_batch_normalization_is_a_node_or_goes_into_the_convolution(far: float, asked: bool, found: Any) -> None:
    """Where the mean is many deviations away, it is subtracted first, as the layer does."""

    def build(m: Made) -> None:
        m.input("x", B, T, 5, 2)
        m.node("Relu", [normalized(m, convolved(m, "x", "c", 3, bias=True), "n", far)], "y", B, T, 5, 3)

    passes = [absorb, lambda net: without_transposes(net, normalizations(net)), *([folded] if asked else [])]
    assert rewritten(build, *passes) == {"Transpose": 2, "Conv": 1, "Relu": 1, **found}


def test_a_shared_kernel_is_not_folded() -> None:
    def build(m: Made) -> None:
        m.input("x", B, T, 5, 3)
        first = normalized(m, convolved(m, "x", "c", 3), "n1")
        front = m.node("Transpose", [first], "again/front", B, 3, T, 5, perm=FRONT)
        m.node("Conv", [front, "c/kernel"], "again/conv", B, 3, T, 5, pads=[1, 1, 1, 1])
        m.node("Transpose", ["again/conv"], "y", B, T, 5, 3, perm=BACK)

    passes = [absorb, lambda net: without_transposes(net, normalizations(net)), folded]
    assert rewritten(build, *passes)["BatchNormalization"] == 1


def test_looked_up_rows_are_turned_as_indices_and_zero_states_go_unsaid() -> None:
    def build(m: Made) -> None:
        m.input("x", B, T, dtype="int64")
        rows = m.node("Gather", [m.weight("rows", 5, 3), "x"], "look", B, T, 3)
        steps = m.node("Transpose", [rows], "steps", perm=[1, 0, 2])
        zero = m.node("Expand", [m.b.constant(0.0, np.float32), m.b.sizes((1, B, 2))], "zero", 1, B, 2)
        sizes = [m.weight(n, *s) for n, s in (("w", (1, 8, 3)), ("r", (1, 8, 2)), ("bias", (1, 16)))]
        m.b.node("LSTM", [steps, *sizes, "", zero, zero], ["all", "y"], hidden_size=2)

    assert rewritten(build, recurrences) == {"Transpose": 1, "Gather": 1, "LSTM": 1}


def test_states_that_are_not_zero_stay() -> None:
    def build(m: Made) -> None:
        m.input("x", T, B, 3)
        m.input("h", 1, B, 2)
        sizes = [m.weight(n, *s) for n, s in (("w", (1, 8, 3)), ("r", (1, 8, 2)), ("bias", (1, 16)))]
        m.b.node("LSTM", ["x", *sizes, "", "h", "h"], ["all", "y"], hidden_size=2)

    assert rewritten(build, recurrences) == {"LSTM": 1}


def test_what_a_node_widens_itself_is_not_widened_before() -> None:
    def build(m: Made) -> None:
        m.input("x", B, T, 2)
        wide = m.node("Expand", [m.weight("w", 1, 2), m.b.sizes((B, T, 2))], "wide", B, T, 2)
        m.node("Mul", ["x", wide], "one", B, T, 2)
        m.node("Add", [wide, wide], "two", B, T, 2)
        m.node("Add", ["one", "two"], "y", B, T, 2)

    assert rewritten(build, absorb)["Expand"] == 1


@pytest.mark.parametrize("seed", range(20))
def test_the_smallest_cut_is_the_smallest(seed: int) -> None:
    """Against all cuts, one by one; and the side is the smallest of those that cost the least."""
    rng = np.random.default_rng(seed)
    nodes = ["s", *map(str, range(5)), "t"]
    edges = [(a, b, int(rng.integers(0, 6))) for a in nodes for b in nodes if a != b and rng.random() < 0.5]
    sides = [{"s", *(n for n, on in zip(nodes[1:-1], bits, strict=True) if on)} for bits in product((0, 1), repeat=5)]
    costs = [sum(c for a, b, c in edges if a in side and b not in side) for side in sides]
    least = [side for side, cost in zip(sides, costs, strict=True) if cost == min(costs)]
    assert source_side(edges, "s", "t") == set.intersection(*least)
