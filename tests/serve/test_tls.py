"""TLS and mTLS, T59; the starts that are refused; connection ageing; limits after inflating (S19)."""

import socket
import ssl
import time
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from onnx import TensorProto

import serve
from serve.command_line import main
from serve.errors import StartError
from serve.tls import Certificates, ClientTls, ServerTls
from tests.serve.certificates import Authority, token_line


@pytest.fixture(scope="module")
def models(tmp_path_factory, onnx_models):
    root = tmp_path_factory.mktemp("models")
    onnx_models.plus(root / "plus" / "1" / "model.onnx", 7)
    onnx_models.identity(root / "any" / "1" / "model.onnx", TensorProto.FLOAT, ("n",))
    return root


def answers(port, **how):
    with serve.Client(f"127.0.0.1:{port}", timeout=20, **how) as client:
        return client.infer("plus", {"x": [[5]]})["y"].tolist() == [[12]]


def refused(port, **how):
    with serve.Client(f"127.0.0.1:{port}", timeout=20, **how) as client:
        with pytest.raises(serve.UnavailableError):
            client.infer("plus", {"x": [[5]]})
        return not client.is_ready()


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("stranger"))


def test_tls_speaks_to_those_who_trust_its_authority(models, background, authority, stranger):
    port = background(models, tls=ServerTls(*authority.issue("server"))).port
    assert answers(port, tls=ClientTls(authority.ca))
    assert answers(port, tls=ClientTls(str(authority.ca)))
    assert refused(port, tls=ClientTls(stranger.ca))
    assert refused(port)


def test_mtls_refuses_who_shows_no_certificate(models, background, authority, stranger):
    port = background(models, tls=ServerTls(*authority.issue("server"), authority.ca)).port
    assert answers(port, tls=ClientTls(authority.ca, *authority.issue("client")))
    assert refused(port, tls=ClientTls(authority.ca))
    assert refused(port, tls=ClientTls(authority.ca, *stranger.issue("client")))


def serial_number(port, ca):
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(["h2"])
    plain = socket.create_connection(("127.0.0.1", port))
    with context.wrap_socket(plain, server_hostname="localhost") as connection:
        return connection.getpeercert()["serialNumber"]


def test_t59_replaced_certificates_serve_new_connections_and_old_ones_live(models, background, authority, caplog):
    certificate, key = authority.issue("replaced")
    port = background(models, tls=ServerTls(certificate, key)).port
    before = serial_number(port, authority.ca)
    assert serial_number(port, authority.ca) == before
    with serve.Client(f"127.0.0.1:{port}", timeout=20, tls=ClientTls(authority.ca)) as old:
        assert old.is_ready()
        key.write_text("half a key")
        assert serial_number(port, authority.ca) == before
        assert "the certificates in use stay" in caplog.text
        authority.issue("replaced")
        assert serial_number(port, authority.ca) != before
        assert old.infer("plus", {"x": [[5]]})["y"].tolist() == [[12]]
    assert answers(port, tls=ClientTls(authority.ca))


def test_files_that_do_not_belong_together(authority, tmp_path):
    (certificate, key), (_, other) = authority.issue("server"), authority.issue("client")
    for files in ((certificate, other), (key, certificate), (tmp_path / "none.pem", key), (certificate, key, key)):
        with pytest.raises(StartError, match="TLS files"):
            Certificates(ServerTls(*files))


@pytest.fixture
def options(authority, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text(token_line("a", "infer", "a caller's token"))
    certificate, key = (str(path) for path in authority.issue("server"))
    return {
        "tls": ["--tls-certificate", certificate, "--tls-key", key],
        "ca": ["--tls-client-ca", str(authority.ca)],
        "tokens": ["--tokens", str(tokens)],
        "open": ["--host", "0.0.0.0"],
        "half": ["--tls-certificate", certificate],
        "none": ["--tokens", "/nowhere/tokens"],
        "mixed": ["--tls-certificate", certificate, "--tls-key", certificate],
    }


WRONG = [
    ("open", "0.0.0.0|no TLS|--insecure"),
    ("open tokens", "no TLS (--tls-certificate, --tls-key)|--insecure"),
    ("open tls", "neither --tokens nor --tls-client-ca|--insecure"),
    ("half", "--tls-certificate and --tls-key together"),
    ("ca", "--tls-certificate and --tls-key together"),
    ("none", "/nowhere/tokens"),
    ("mixed", "TLS files"),
]


@pytest.mark.parametrize(("words", "told"), WRONG, ids=[row[0] for row in WRONG])
def test_starts_that_are_refused(models, options, capsys, words, told):
    arguments = [value for word in words.split() for value in options[word]]
    assert main([str(models), "--port", "0", *arguments]) == 1
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1
    for sentence in told.split("|"):
        assert sentence in complaint


@pytest.mark.parametrize("words", ["open tls tokens", "open tls ca", "open tls ca tokens"])
def test_an_open_address_with_tls_and_known_callers(models, options, authority, spawn, words):
    server = spawn(str(models), *(value for word in words.split() for value in options[word]))
    pair = authority.issue("client") if "ca" in words else ()
    token = {"token": "a caller's token"} if "tokens" in words else {}
    assert answers(server.port, tls=ClientTls(authority.ca, *pair), **token)
    if token:
        with pytest.raises(serve.UnauthenticatedError):
            answers(server.port, tls=ClientTls(authority.ca, *pair))


def test_an_old_connection_is_made_anew_and_calls_go_on(models, spawn, stub_of):
    server = spawn(str(models), "--connection-age-seconds", "0.3", "--connection-grace-seconds", "0.1")
    stub = stub_of(server.port)
    begun = time.monotonic()
    watch = stub.Watch(stub.types.Watch(), timeout=60)
    assert next(watch).status == 1
    with pytest.raises(grpc.RpcError) as caught:  # nothing else ends it
        next(watch)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert time.monotonic() - begun < 30
    with serve.Client(f"127.0.0.1:{server.port}", timeout=20) as client:
        connections = set()
        process = psutil.Process(server.process.pid)
        while len(connections) < 3:
            assert client.infer("plus", {"x": [[5]]})["y"].tolist() == [[12]]
            connections |= {one.raddr for one in process.net_connections("tcp") if one.raddr}


def most_memory(server):
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


@pytest.mark.parametrize("kind", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_s19_the_limit_holds_after_inflating_too(models, spawn, stub_of, kind):
    server = spawn(str(models), "--max-message-bytes", str(8 * 2**20))
    stub = stub_of(server.port)

    def call(count):
        x = np.zeros(count, np.float32)
        request = stub.request("any", [("x", "FP32", x.shape, x.tobytes())])
        return stub.ModelInfer.future(request, compression=kind, timeout=60)

    assert len(call(2_000_000).result().raw_output_contents[0]) == 8_000_000
    before = most_memory(server)
    assert call(50 * 2**20).exception().code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert most_memory(server) - before < 2 * 8 * 2**20
    assert call(10).result().raw_output_contents[0] == bytes(40)
