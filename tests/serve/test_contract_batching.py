"""Contract T18 to T29: what sharing a run must never change, at the level of lanes and of the pool."""

import queue
import threading
import time
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import TensorProto, helper

from serve.batcher import Limits
from serve.dataplane import DataPlane
from serve.errors import CancelledError, DeadlineExceededError, InvalidArgumentError, ResourceExhaustedError
from serve.messages import ModelInferRequest, ModelInferResponse
from serve.pool import Pool
from serve.repository import load
from serve.session import SessionSettings

FLOAT = TensorProto.FLOAT
RANDOM = np.random.default_rng(18)
W1, W2 = RANDOM.normal(size=(257, 130)).astype("f4") / 16, RANDOM.normal(size=(130, 33)).astype("f4") / 11


def node(kind, given, made, **more):
    return helper.make_node(kind, given, made, **more)


@pytest.fixture(scope="module")
def plane(tmp_path_factory, onnx_models):
    root = tmp_path_factory.mktemp("models")

    def write(name, nodes, inputs, outputs, **more):
        onnx_models.write(root / name / "1" / "model.onnx", nodes, inputs, outputs, **more)

    x, y = ("x", FLOAT, ["n", "m"]), ("y", FLOAT, ["n", "m"])
    onnx_models.f1(root / "f1" / "1" / "model.onnx")
    onnx_models.counting(root / "counting" / "1" / "model.onnx")
    write("mlp", [node("Gemm", ["x", "w1"], ["h"]), node("Relu", ["h"], ["r"]), node("MatMul", ["r", "w2"], ["z"]),
                  node("Softmax", ["z"], ["y"])],
          [("x", FLOAT, ["n", 257])], [("y", FLOAT, ["n", 33])], weights={"w1": W1, "w2": W2})  # fmt: skip
    write("look_up", [node("Gather", ["table", "ids"], ["y"])], [("ids", TensorProto.INT64, ["n", 1])],
          [("y", FLOAT, ["n", 1])], weights={"table": np.arange(10, dtype=np.float32) * 7})  # fmt: skip
    write("row_sums", [node("ReduceSum", ["x", "one"], ["y"], keepdims=1)], [x], [("y", FLOAT, ["n", 1])],
          weights={"one": np.array([1])})  # fmt: skip
    write("softmax_0", [node("Softmax", ["x"], ["y"], axis=0)], [x], [y])
    write("by_largest", [node("ReduceMax", ["x", "zero"], ["t"], keepdims=1), node("Div", ["x", "t"], ["y"])],
          [x], [y, ("t", FLOAT, [1, "m"])], weights={"zero": np.array([0])})  # fmt: skip
    write("noise", [node("RandomNormalLike", ["x"], ["r"]), node("Add", ["x", "r"], ["y"])], [x], [y])
    write("keep_above", [node("ReduceMin", ["x", "one"], ["least"], keepdims=0),
                         node("Greater", ["least", "low"], ["kept"]), node("Compress", ["x", "kept"], ["y"], axis=0)],
          [x], [("y", FLOAT, ["k", "m"])], weights={"one": np.array([1]), "low": np.float32(-100)})  # fmt: skip
    return DataPlane(load(root, {}, SessionSettings()), limits=Limits(capacity=4000))


KINDS = {"float32": "FP32", "int64": "INT64"}


def asked(plane, model, outputs=(), seconds=float("inf"), **arrays):
    request = ModelInferRequest(model_name=model, id=f"{model}-{time.perf_counter_ns()}")
    for name, array in arrays.items():
        request.inputs.add(name=name, datatype=KINDS[str(array.dtype)], shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    for name in outputs:
        request.outputs.add(name=name)
    return plane.inference(request, seconds)


def answer(inference):
    assert isinstance(inference.outcome, bytes), inference.outcome
    response = ModelInferResponse.FromString(inference.outcome)
    return {
        one.name: np.frombuffer(raw, "<f4").reshape(one.shape)
        for one, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }


def together(plane, inferences):
    """Run them as one batch and return how often the model ran."""
    lane = inferences[0].lane
    before = lane.statistics.snapshot().count["executions"]
    lane.run(inferences)
    return lane.statistics.snapshot().count["executions"] - before


def floats(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def mlp64(x):
    z = np.maximum(x.astype("f8") @ W1.astype("f8"), 0) @ W2.astype("f8")
    z = np.exp(z - z.max(1, keepdims=True))
    return z / z.sum(1, keepdims=True)


@pytest.mark.parametrize(
    ("model", "reason"),
    [("mlp", ""), ("f1", ""), ("row_sums", ""), ("look_up", ""), ("keep_above", ""), ("counting", "free first"),
     ("softmax_0", "alone"), ("by_largest", "free first"), ("noise", "alone")],
)  # fmt: skip
def test_b11_only_proven_models_share_runs(plane, model, reason):
    found, session = plane.repository.ready_version(model, "")
    lane = plane.lane(found, session)
    assert (reason in lane.refused) if reason else lane.refused == ""
    assert lane.batcher.limits.rows == (1 if reason else 64)


@pytest.mark.parametrize("sets", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_t19_b1_b2_batched_equals_unbatched(plane, sets):
    for _ in range(sets):
        arrays = [floats(int(rows), 257) for rows in RANDOM.integers(1, 9, RANDOM.integers(2, 8))]
        batch = [asked(plane, "mlp", x=array) for array in arrays]
        assert together(plane, batch) == 1
        for item, array in zip(batch, arrays, strict=True):
            alone = asked(plane, "mlp", x=array)
            assert together(plane, [alone]) == 1
            got, want = answer(item)["y"], answer(alone)["y"]
            assert np.abs(got - want).max() <= 1e-6 * np.abs(want).max()
            np.testing.assert_allclose(got, mlp64(array), rtol=1e-4, atol=1e-6)


def test_t20_b4_one_bad_index_in_ten_fails_alone(plane):
    ids = np.arange(30)[:, None] % 10
    ids[::10] = 77
    batch = [asked(plane, "look_up", ids=ids[n : n + 1]) for n in range(30)]
    assert together(plane, batch) <= 2 * len(batch)
    for number, item in enumerate(batch):
        if number % 10 == 0:
            assert isinstance(item.outcome, InvalidArgumentError)
        else:
            assert answer(item)["y"] == [[7 * (number % 10)]]


def test_t22_sums_over_rows_of_others_never_happen(plane):
    for model in ("softmax_0", "by_largest"):
        assert asked(plane, model, x=floats(2, 3)).key is None
    for value in (1.0, 3.0):  # case 83
        inference = asked(plane, "by_largest", x=np.array([[value]], np.float32))
        together(plane, [inference])
        assert (answer(inference)["y"], answer(inference)["t"]) == ([[1.0]], [[value]])


def test_t23_b12_fewer_rows_than_given_switches_batching_off(plane):
    good, gone = floats(2, 3), np.array([[-1e3, 0, 0], [5, 6, 7]], np.float32)
    batch = [asked(plane, "keep_above", x=array) for array in (good, gone, good)]
    assert batch[0].key is not None
    assert together(plane, batch) == 3
    np.testing.assert_array_equal(answer(batch[0])["y"], good)
    np.testing.assert_array_equal(answer(batch[1])["y"], gone[1:])
    np.testing.assert_array_equal(answer(batch[2])["y"], good)
    assert "shape [5, 3] for 6 rows" in batch[0].lane.refused
    assert asked(plane, "keep_above", x=good).key is None


def test_t24_each_gets_the_outputs_it_asked_for(plane):
    a, b = floats(3, 3), floats(3, 2)
    wanted = [("s",), ("d",), ("d", "s"), ()]
    batch = [asked(plane, "f1", names, a=a * k, b=b) for k, names in enumerate(wanted, 1)]
    assert together(plane, batch) == 1
    for k, (item, names) in enumerate(zip(batch, wanted, strict=True), 1):
        got = answer(item)
        assert list(got) == list(names or ("s", "d"))
        if "s" in got:
            np.testing.assert_allclose(got["s"], (a * k).sum(1, keepdims=True), rtol=1e-5, atol=1e-5)
        if "d" in got:
            np.testing.assert_array_equal(got["d"], (a * k)[:, :2] - b)


def test_t21_b3_shapes_never_mix(plane):
    three, four = asked(plane, "row_sums", x=floats(2, 3)), asked(plane, "row_sums", x=floats(5, 3))
    assert three.key == four.key != asked(plane, "row_sums", x=floats(2, 4)).key


@pytest.fixture
def pool():
    delivered = queue.SimpleQueue()
    made = SimpleNamespace(pool=Pool(1, lambda items: [delivered.put(item) for item in items]), delivered=delivered)
    yield made
    made.pool.close()
    assert made.pool.join(5)


def occupied(plane, pool):
    """Occupy the only worker with a run that ends when it is cancelled."""
    plug = asked(plane, "counting", rounds=np.array(2**40), x=np.zeros(1, np.float32))
    running, run = threading.Event(), plug.session.run

    def telling(*arguments):
        running.set()
        return run(*arguments)

    plug.session.run = telling
    pool.pool.put(plug)
    assert running.wait(10)
    del plug.session.run
    return plug


def released(pool, plug):
    pool.pool.cancel(plug, CancelledError("enough"))


def test_t21_interleaved_shapes_run_apart_through_the_pool(plane, pool):
    plug = occupied(plane, pool)
    items = []
    for number in range(40):
        array = np.full((1, 3 + number % 2), number, np.float32)
        items.append((asked(plane, "row_sums", x=array), number * (3 + number % 2)))
        pool.pool.put(items[-1][0])
    lane = items[0][0].lane
    before = lane.statistics.snapshot().count["executions"]
    released(pool, plug)
    assert {id(pool.delivered.get(timeout=20)) for _ in range(41)} == {id(plug), *(id(item) for item, _ in items)}
    for item, total in items:
        assert answer(item)["y"] == [[total]]
    assert lane.statistics.snapshot().count["executions"] - before == 2


def test_t25_b5_cancelled_in_the_queue_is_never_computed(plane, pool):
    plug = occupied(plane, pool)
    items = [asked(plane, "f1", a=floats(1, 3), b=floats(1, 2)) for _ in range(2000)]
    lane = items[0].lane
    before = lane.statistics.snapshot().count.copy()
    for item in items:
        pool.pool.put(item)
    for item in items[::2]:
        pool.pool.cancel(item, CancelledError("withdrawn"))
    released(pool, plug)
    got = [pool.delivered.get(timeout=20) for _ in range(1001)]
    assert {id(item) for item in got} == {id(plug), *(id(item) for item in items[1::2])}
    after = lane.statistics.snapshot().count
    executed = sum(
        size * (number - before["batch", size, "count"])
        for (_, size, what), number in ((key, n) for key, n in after.items() if key[0] == "batch")
        if what == "count"
    )
    assert executed == 1000
    assert after["rows"] - before["rows"] == after["success"] - before["success"] == 1000
    assert after["reason", "CANCELED"] - before["reason", "CANCELED"] == 1000


def test_t27_cancelling_the_only_request_ends_its_run(plane, pool):
    plug = occupied(plane, pool)
    begin = time.perf_counter()
    released(pool, plug)
    assert pool.delivered.get(timeout=20) is plug
    assert time.perf_counter() - begin < 0.2
    assert isinstance(plug.outcome, CancelledError)
    good = asked(plane, "f1", a=floats(1, 3), b=floats(1, 2))
    pool.pool.put(good)
    assert pool.delivered.get(timeout=20) is good
    assert time.perf_counter() - begin < 0.45


def test_a_run_goes_on_while_anybody_wants_it(plane):
    items = [asked(plane, "f1", a=floats(1, 3), b=floats(1, 2)) for _ in range(3)]
    items[0].cancelled = True
    items[0].lane.run(items)
    assert isinstance(items[0].outcome, CancelledError)
    assert answer(items[1]).keys() == answer(items[2]).keys() == {"s", "d"}


def test_t28_late_in_the_queue_is_dropped_before_compute(plane, pool):
    plug = occupied(plane, pool)
    late = asked(plane, "f1", seconds=60, a=floats(1, 3), b=floats(1, 2))
    rows = late.lane.statistics.snapshot().count["rows"]
    pool.pool.put(late)
    late.deadline = time.monotonic()
    released(pool, plug)
    got = {id(pool.delivered.get(timeout=20)) for _ in range(2)}
    assert got == {id(plug), id(late)}
    assert isinstance(late.outcome, DeadlineExceededError)
    assert late.lane.statistics.snapshot().count["rows"] == rows


def test_t29_time_in_the_queue_is_over_while_the_worker_is_busy(plane, pool):
    plug = occupied(plane, pool)
    waiting = asked(plane, "f1", a=floats(1, 3), b=floats(1, 2))
    pool.pool.put(waiting)
    pool.pool.expire(waiting)
    assert pool.delivered.get(timeout=1) is waiting
    assert isinstance(waiting.outcome, DeadlineExceededError)
    assert plug.outcome is None
    pool.pool.expire(waiting)
    assert pool.delivered.empty()
    released(pool, plug)


def test_b8_a_full_queue_answers_at_once(plane, pool):
    plug = occupied(plane, pool)
    limits = plane.lane(*plane.repository.ready_version("mlp", "")).batcher.limits
    x = floats(1, 257)
    for _ in range(limits.most_waiting):
        pool.pool.put(asked(plane, "mlp", x=x))
    refused = asked(plane, "mlp", x=x)
    begin = time.perf_counter()
    with pytest.raises(ResourceExhaustedError) as caught:
        pool.pool.put(refused)
    assert time.perf_counter() - begin < 0.005
    assert caught.value.retry_milliseconds > 0
    assert refused.outcome is caught.value
    released(pool, plug)


def test_b10_closing_settles_everything(plane):
    settled = []
    pool = Pool(2, settled.extend)
    items = [asked(plane, "counting", rounds=np.array(2**40), x=np.zeros(1, np.float32)) for _ in range(2)]
    items += [asked(plane, "mlp", x=floats(1, 257)) for _ in range(20)]
    for item in items:
        pool.put(item)
    pool.close()
    assert pool.join(5)
    assert {id(item) for item in settled} == {id(item) for item in items}
    assert all(item.outcome is not None for item in items)


def test_a_worker_keeps_no_late_request(plane, pool):
    plug = occupied(plane, pool)
    late = asked(plane, "f1", seconds=60, a=floats(1, 3), b=floats(1, 2))
    kept = weakref.ref(late.arrays["a"])
    pool.pool.put(late)
    late.deadline = time.monotonic()
    released(pool, plug)
    del late
    for _ in range(2):
        pool.delivered.get(timeout=20)
    good = asked(plane, "f1", a=floats(1, 3), b=floats(1, 2))
    pool.pool.put(good)
    assert pool.delivered.get(timeout=20) is good
    assert kept() is None
