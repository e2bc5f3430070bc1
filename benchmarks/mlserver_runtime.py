"""The model that MLServer serves: an ONNX file in onnxruntime, as its guide to custom runtimes writes one."""

from __future__ import annotations

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxModel(MLModel):
    """Takes and gives tensors by the names in the file."""

    async def load(self) -> bool:
        self.session = onnxruntime.InferenceSession(self.settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        names = [output.name for output in self.session.get_outputs()]
        arrays = self.session.run(names, {one.name: NumpyCodec.decode_input(one) for one in payload.inputs})
        outputs = [NumpyCodec.encode_output(name, array) for name, array in zip(names, arrays, strict=True)]
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=outputs)
