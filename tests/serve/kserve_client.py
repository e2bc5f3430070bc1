"""Run by an interpreter that has KServe: its own client against a server on a port; prints what it got as JSON.

`python kserve_client.py PORT [CERTIFICATE_AUTHORITY TOKEN]`; model `f1` sums rows of a and subtracts b,
`text` and `any` give back what they get.
"""

import asyncio
import json
import logging
import sys

import grpc
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest
from kserve.logging import logger

A = np.arange(21, dtype=np.float32).reshape(7, 3)
B = np.arange(14, dtype=np.float32).reshape(7, 2) * 11


def request(model, *arrays, **more):
    inputs = []
    for name, datatype, array in arrays:
        inputs.append(InferInput(name, list(array.shape), datatype))
        inputs[-1].set_data_from_numpy(array, binary_data=more.get("binary", True))
    return InferRequest(model, inputs, request_id=more.get("ident"), parameters=more.get("parameters"))


async def refused(awaitable):
    try:
        await awaitable
    except grpc.RpcError as error:
        return error.code().name, error.details()
    return "OK", ""


async def told(client, headers):
    arrays = ("b", "FP32", B), ("a", "FP32", A)
    got = {
        "live": await client.is_server_live(headers=headers),
        "ready": await client.is_server_ready(headers=headers),
        "model": await client.is_model_ready("f1", headers=headers),
        "unknown": await client.is_model_ready("nope", headers=headers),
    }
    for binary in (True, False):
        more = {"binary": binary, "ident": "17", "parameters": {"signature_name": "serving_default"}}
        answer = await client.infer(request("f1", *arrays, **more), headers=headers)
        got["raw" if binary else "typed"] = {
            "id": answer.id,
            "version": answer.model_version,
            **{one.name: one.as_numpy().tolist() for one in answer.outputs},
        }
    words = np.array([b"", "é".encode(), b"a\0b"], object)
    answer = await client.infer(request("text", ("x", "BYTES", words)), headers=headers)
    got["text"] = [word.decode() for word in answer.outputs[0].as_numpy().ravel()]
    large = np.random.default_rng(4).random((1100, 1024), np.float32)
    answer = await client.infer(request("any", ("x", "FP32", large)), headers=headers)
    got["large"] = bool(np.array_equal(answer.outputs[0].as_numpy(), large))
    got["missing"] = await refused(client.infer(request("f1", arrays[0]), headers=headers))
    got["nowhere"] = await refused(client.infer(request("nope", arrays[0]), headers=headers))
    return got


async def main(port, ca="", token=""):
    logger.setLevel(logging.CRITICAL)
    headers = (("authorization", f"Bearer {token}"),) if token else None
    tls = {"use_ssl": True, "root_certificates": ca} if ca else {}
    async with InferenceGRPCClient(f"localhost:{port}", timeout=60, **tls) as client:
        print(json.dumps(await told(client, headers)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
