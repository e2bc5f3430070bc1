"""A bare grpcio server of eight threads with canned answers: python -m benchmarks.echo_server PORT [CERTIFICATE KEY]"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from serve.messages import INFERENCE, ModelInferResponse


def main() -> None:
    """Answer until the process is ended; no protobuf, no model."""
    port, *tls = sys.argv[1:]
    answers = {}
    for model, name, width in (("identity", "y", 4), ("mlp", "logits", 10), ("tickets", "priority", 1)):
        response = ModelInferResponse(model_name=model, model_version="1")
        response.outputs.add(name=name, datatype="FP32", shape=[1, width])
        response.raw_output_contents.append(bytes(4 * width))
        answers[model.encode()] = response.SerializeToString()
    handler = grpc.unary_unary_rpc_method_handler(lambda data, _context: answers[data[2 : 2 + data[1]]])
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(INFERENCE, {"ModelInfer": handler}),))
    if tls:
        certificate, key = (Path(path).read_bytes() for path in tls)
        server.add_secure_port(f"127.0.0.1:{port}", grpc.ssl_server_credentials([(key, certificate)]))
    else:
        server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
