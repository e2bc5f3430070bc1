"""Tokens and roles: S3, S34, T60, must hold 8; every call with every kind of caller."""

import queue
import time
from types import SimpleNamespace

import grpc
import numpy as np
import pytest

from serve.errors import PermissionDeniedError, StartError, UnauthenticatedError
from serve.gate import Gate
from serve.messages import HEALTH, INFERENCE, REFLECTIONS, service_methods
from serve.repository import Mode
from serve.tokens import LOOK_SECONDS, Access, Tokens
from tests.serve.certificates import token_line

ALL = {"infer", "read", "admin"}
SHARED = [f"{kind}SharedMemory" for kind in ("System", "Cuda")]
#: Who may make each of the 20 calls; what an admin may do without reading would help nobody.
MAY = {
    name: set(roles.split())
    for roles, names in {
        "infer read admin": ["ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata"],
        "infer": ["ModelInfer", "ModelStreamInfer"],
        "read admin": ["ModelConfig", "ModelStatistics", "RepositoryIndex", "TraceSetting", "LogSettings",
                       *(f"{shared}Status" for shared in SHARED)],
        "admin": ["RepositoryModelLoad", "RepositoryModelUnload",
                  *(shared + end for shared in SHARED for end in ("Register", "Unregister"))],
    }.items()
    for name in names
}  # fmt: skip
REFUSED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}


@pytest.fixture(scope="module")
def models(tmp_path_factory, onnx_models):
    root = tmp_path_factory.mktemp("models")
    onnx_models.plus(root / "plus" / "1" / "model.onnx", 7)
    return root


@pytest.fixture(scope="module")
def setup(models, tmp_path_factory, background, stub_of):
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    lines = [token_line(f"the-{role}", role, f"token of {role}") for role in sorted(ALL)]
    tokens.write_text("# who may call\n\n" + "".join(lines) + token_line("all", "infer,read,admin", "token of all"))
    server = background(models, {"mode": Mode.EXPLICIT, "chosen": ("*",)}, tokens=tokens, open_admin=True)
    return SimpleNamespace(stub=stub_of(server.port), port=server.port)


def status(stub, name, /, *authorization, **fields):
    """The status of a call and its sentence; a stream is read to its end."""
    metadata = tuple(("authorization", value) for value in authorization)
    try:
        answer = getattr(stub, name)(getattr(stub.types, name)(**fields), metadata=metadata, timeout=20)
        if name in ("ModelStreamInfer", "Watch"):
            next(iter(answer))
            answer.cancel()
    except grpc.RpcError as error:
        return error.code(), error.details()
    return grpc.StatusCode.OK, ""


def test_the_table_names_the_20_calls():
    assert set(MAY) == set(service_methods(INFERENCE))
    assert len(MAY) == 20


@pytest.mark.parametrize("name", sorted(MAY))
@pytest.mark.parametrize("caller", ["infer", "read", "admin", "all", "nobody", "a stranger"])
def test_s3_every_call_with_every_role(setup, name, caller):
    sent = [] if caller == "nobody" else [f"Bearer token of {caller}"]
    code, sentence = status(setup.stub, name, *sent)
    if caller in ("nobody", "a stranger"):
        assert code is grpc.StatusCode.UNAUTHENTICATED
        assert f"{name} needs a token" in sentence
    elif caller == "all" or caller in MAY[name]:
        assert code not in REFUSED, sentence
    else:
        assert code is grpc.StatusCode.PERMISSION_DENIED
        assert f"'the-{caller}'" in sentence
    assert "token of" not in sentence.replace("Bearer TOKEN", "")


def test_an_allowed_call_does_its_work(setup):
    raw = np.ones((1, 1), np.float32).tobytes()
    request = setup.stub.request("plus", [("x", "FP32", [1, 1], raw)])
    answer = setup.stub.ModelInfer(request, metadata=(("authorization", "bearer  token of infer"),))
    assert np.frombuffer(answer.raw_output_contents[0], "<f4") == [8]
    assert status(setup.stub, "RepositoryModelLoad", "Bearer token of admin", model_name="plus")[0].name == "OK"
    assert status(setup.stub, "RepositoryModelUnload", "Bearer token of read", model_name="plus")[0] in REFUSED
    assert status(setup.stub, "ModelMetadata", "Bearer token of infer", name="plus")[0].name == "OK"


@pytest.mark.parametrize(
    "sent", [[""], ["token of all"], ["Basic token of all"], ["Bearer"], ["Bearer token of  all"],
             ["Bearer token of all", "Bearer token of all"], ["Bearer token of all, Bearer x"]],
)  # fmt: skip
def test_other_ways_to_send_a_token_are_none(setup, sent):
    assert status(setup.stub, "ServerLive", *sent)[0] is grpc.StatusCode.UNAUTHENTICATED


def test_s34_probes_need_no_token_and_what_tells_of_services_does(setup):
    assert status(setup.stub, "Check")[0] is grpc.StatusCode.OK
    assert status(setup.stub, "Watch")[0] is grpc.StatusCode.OK
    assert status(setup.stub, "List")[0] is grpc.StatusCode.UNAUTHENTICATED
    assert status(setup.stub, "List", "Bearer token of infer")[0] is grpc.StatusCode.PERMISSION_DENIED
    assert status(setup.stub, "List", "Bearer token of read")[0] is grpc.StatusCode.OK
    for service in REFLECTIONS:
        method = service_methods(service)["ServerReflectionInfo"]
        call = setup.stub.channel.stream_stream(
            method.path, request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )  # fmt: skip
        with pytest.raises(grpc.RpcError) as caught:
            list(call(iter([method.request(list_services="")])))
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        metadata = (("authorization", "Bearer token of read"),)
        told = list(call(iter([method.request(list_services="")]), metadata=metadata))
        assert INFERENCE in {one.name for one in told[0].list_services_response.service}


def test_a_stream_without_a_token_is_refused_before_it_sends(setup):
    channel = grpc.insecure_channel(f"127.0.0.1:{setup.port}")
    call = channel.stream_stream(f"/{INFERENCE}/ModelStreamInfer")
    waiting = iter(lambda: time.sleep(60), 0)  # never sends
    with pytest.raises(grpc.RpcError) as caught:
        next(call(waiting, timeout=20))
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    channel.close()


def test_s28_models_are_changed_only_where_that_was_opened(models, background, stub_of):
    closed = stub_of(background(models, {"mode": Mode.EXPLICIT, "chosen": ("*",)}, open_admin=False).port)
    for name in sorted(MAY):
        code, sentence = status(closed, name)
        assert (code in REFUSED) == ("--open-admin" in sentence) == name.startswith("RepositoryModel")
    assert closed.ModelReady(closed.types.ModelReady(name="plus")).ready


def test_s3_a_call_without_roles_cannot_be_served():
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
    with pytest.raises(KeyError, match=f"{HEALTH}/NewCall"):
        Gate({HEALTH: {"NewCall": handler}}, Access(None, True))


@pytest.fixture
def timed(tmp_path):
    now = SimpleNamespace(seconds=100.0)
    path = tmp_path / "tokens"
    path.write_text(token_line("old", "infer", "secret") + token_line("other", "read", "others"))
    return SimpleNamespace(now=now, path=path, tokens=Tokens(path, lambda: now.seconds))


def test_t60_a_changed_file_counts_within_a_second_and_a_broken_one_does_not(timed, caplog):
    assert timed.tokens.find("secret").name == "old"
    timed.path.write_text(token_line("new", "admin", "another"))
    assert timed.tokens.find("secret").name == "old"
    timed.now.seconds += LOOK_SECONDS
    assert timed.tokens.find("secret") is None
    assert timed.tokens.find("another").name == "new"
    timed.path.write_text("another admin\n")
    timed.now.seconds += LOOK_SECONDS
    assert timed.tokens.find("another").name == "new"
    assert "the tokens in force stay" in caplog.text
    timed.path.unlink()
    timed.now.seconds += LOOK_SECONDS
    assert timed.tokens.find("another").name == "new"


def test_t60_over_the_wire_within_ten_seconds(models, tmp_path, background, stub_of):
    path = tmp_path / "tokens"
    path.write_text(token_line("one", "infer", "first"))
    stub = stub_of(background(models, tokens=path).port)
    assert status(stub, "ServerLive", "Bearer first")[0] is grpc.StatusCode.OK
    path.write_text(token_line("two", "infer", "second"))
    until = time.monotonic() + 10
    while status(stub, "ServerLive", "Bearer first")[0] is grpc.StatusCode.OK:
        assert time.monotonic() < until
    assert status(stub, "ServerLive", "Bearer second")[0] is grpc.StatusCode.OK


def test_t60_a_stream_that_is_open_ends_with_its_token(models, tmp_path, background, stub_of):
    path = tmp_path / "tokens"
    path.write_text(token_line("one", "infer,read", "first"))
    stub, requests = stub_of(background(models, tokens=path).port), queue.SimpleQueue()
    raw = np.ones((1, 1), np.float32).tobytes()
    good = stub.request("plus", [("x", "FP32", [1, 1], raw)]).SerializeToString()
    call = stub.channel.stream_stream(f"/{INFERENCE}/ModelStreamInfer")
    answers = call(iter(requests.get, None), metadata=(("authorization", "Bearer first"),), timeout=60)
    for _ in range(3):
        requests.put(good)
        assert next(answers)
    path.write_text(token_line("two", "infer", "second"))
    until = time.monotonic() + 10

    def answered():
        requests.put(good)
        return next(answers, None)

    with pytest.raises(grpc.RpcError) as caught:
        list(iter(lambda: answered() and time.monotonic() < until, False))
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    requests.put(None)


def test_t60_finding_a_token_takes_the_same_time_whichever_it_is(timed):
    words = ["secret", "others", "secreT", "x" * 6]
    took = {word: [] for word in words}
    for number in range(100_000):
        word = words[number % 4]
        begin = time.perf_counter_ns()
        timed.tokens.find(word)
        took[word].append(time.perf_counter_ns() - begin)
    medians = [np.median(values) for values in took.values()]
    assert max(medians) - min(medians) < 1000


def test_the_reasons_of_a_refusal(timed):
    access, path = Access(timed.tokens, False), f"/{INFERENCE}/ModelConfig"
    with pytest.raises(UnauthenticatedError, match="ModelConfig needs a token"):
        access.caller(path, ())
    with pytest.raises(PermissionDeniedError, match="needs the role read or admin; token 'old'"):
        access.caller(path, (("authorization", "Bearer secret"),))
    assert access.caller(path, (("user-agent", "x"), ("authorization", "Bearer others"))) == "other"


GOOD = token_line("a", "infer", "x")
WRONG = [
    ("empty", "", "has no line"),
    ("two words", f"{GOOD}the-token-itself infer", "line 2: expected NAME"),
    ("no digest", "a infer the-token-itself", "line 1: expected NAME"),
    ("short digest", "a infer " + "0" * 63, "line 1: expected NAME"),
    ("role", GOOD.replace("infer", "root"), "'root' is not a valid Role; the roles are infer, read, admin"),
    ("name twice", GOOD + token_line("a", "read", "y"), "a name stands there twice"),
    ("token twice", GOOD + token_line("b", "read", "x"), "a token stands there twice"),
    ("empty token", token_line("a", "infer", ""), "line 1: the digest is that of an empty token"),
    ("not text", b"\xff\xfe", "utf-8"),
]


@pytest.mark.parametrize(("text", "words"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_file_that_is_none_is_refused_without_telling_what_stands_there(tmp_path, text, words):
    path = tmp_path / "tokens"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(StartError, match=words) as caught:
        Tokens(path)
    assert "the-token-itself" not in str(caught.value)
