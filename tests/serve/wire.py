"""Rows of requests, and streams of them, for bare stubs."""

import numpy as np

from serve.messages import INFERENCE, ModelStreamInferResponse


def f1_rows(a, b=None):
    """Both inputs of `f1`; b of zeros."""
    b = np.zeros((len(a), 2), np.float32) if b is None else b
    return [("a", "FP32", a.shape, a.tobytes()), ("b", "FP32", b.shape, b.tobytes())]


def stream_of(stub, requests, metadata=()):
    """Send requests, or bytes that are none, over one stream; its call gives the answers."""
    call = stub.channel.stream_stream(
        f"/{INFERENCE}/ModelStreamInfer",
        request_serializer=lambda request: request if isinstance(request, bytes) else request.SerializeToString(),
        response_deserializer=ModelStreamInferResponse.FromString,
    )
    return call(iter(requests), metadata=metadata, timeout=120)
