"""Signatures over gRPC: asked for by parameter and as models of their own, equal to the trainer's values."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from examples import autoencoder
from graphkit import GradientTape, Model, gradient_of, ops
from tests.export.test_signatures import classifier
from tests.ops.harness import close


@contextmanager
def served(model: Model, repository: Path, signatures: dict[str, Any]) -> Iterator[triton.InferenceServerClient]:
    """A client of a server of the model with these signatures, named `m`."""
    version = repository / "m" / "1"
    version.mkdir(parents=True)
    model.export(version / "model.onnx", signatures=signatures)
    command = [sys.executable, "-m", "serve", str(repository), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = server.stdout.readline().split()[-1]
        try:
            with triton.InferenceServerClient(address) as client:
                yield client
        finally:
            server.terminate()
            assert server.wait(30) == 0


def asked(client: triton.InferenceServerClient, signature: str, output: str, **inputs: np.ndarray) -> np.ndarray:
    """The answer by `m:signature`, which is that by the parameter."""
    given = []
    for name, array in inputs.items():
        given.append(triton.InferInput(name, list(array.shape), "FP32"))
        given[-1].set_data_from_numpy(array)
    one = client.infer(f"m:{signature}", given).as_numpy(output)
    other = client.infer("m", given, parameters={"signature_name": signature}).as_numpy(output)
    np.testing.assert_array_equal(one, other)
    return one


def test_autoencoder_served_whole_and_in_halves(tmp_path: Path, rng: np.random.Generator) -> None:
    encoder, decoder, whole = autoencoder.build()
    img = rng.normal(size=(3, 28, 28, 1)).astype("float32")
    with served(whole, tmp_path, {"encode": encoder, "decode": decoder}) as client:
        close(asked(client, "serving_default", "decoder", img=img), whole.predict(img), 1e-5, "whole")
        code = asked(client, "encode", "global_max_pooling2d", original_img=img)
        close(code, encoder.predict(img), 1e-5, "encode")
        close(asked(client, "decode", "conv2d_transpose_3", encoded_img=code), whole.predict(img), 1e-5, "decode")
        with pytest.raises(InferenceServerException, match=r"'decrypt'.*encode"):
            asked(client, "decrypt", "decoder", img=img)


def test_classifier_served_with_embed_and_saliency(tmp_path: Path, rng: np.random.Generator) -> None:
    model = classifier()
    signatures = {"embed": ("img", "embedding"), "saliency": gradient_of("head", ["img"], weighted_by="classes")}
    img = rng.normal(size=(3, 9, 7, 2)).astype("float32")
    tensor = ops.convert_to_tensor(img)
    with GradientTape() as tape:
        tape.watch(tensor)
        score = ops.sum(model(tensor)[:, 1])
    slope = np.asarray(tape.gradient(score, tensor))
    second = np.tile(np.eye(3, dtype="float32")[1], (3, 1))
    with served(model, tmp_path, signatures) as client:
        code = Model(model.input, model.get_layer("embedding").output).predict(img)
        close(asked(client, "embed", "embedding", img=img), code, 1e-5, "embed")
        found = asked(client, "saliency", "img_gradient", img=img, classes=second)
    assert np.abs(found - slope).max() <= 1e-5 * np.abs(slope).max()
