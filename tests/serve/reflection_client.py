"""Run by an interpreter that has grpcio-reflection: knows nothing of the protocol but what the server tells.

`python reflection_client.py PORT` finds the services, makes a ModelInferRequest for `f1` and prints the answer's sums.
"""

import sys

import grpc
import numpy as np
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

NAME = "inference.GRPCInferenceService"


def main(port):
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert NAME in database.get_services()
        service = descriptor_pool.DescriptorPool(database).FindServiceByName(NAME)
        assert len(service.methods) == 20
        method = service.FindMethodByName("ModelInfer")
        request = message_factory.GetMessageClass(method.input_type)(model_name="f1")
        for name, array in (("a", np.array([[2, 3, 5]], "<f4")), ("b", np.array([[7, 11]], "<f4"))):
            request.inputs.add(name=name, datatype="FP32", shape=array.shape)
            request.raw_input_contents.append(array.tobytes())
        call = channel.unary_unary(
            f"/{NAME}/ModelInfer",
            request_serializer=type(request).SerializeToString,
            response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
        )
        raw = call(request, timeout=20).raw_output_contents[0]
        print(np.frombuffer(raw, "<f4").tolist())


if __name__ == "__main__":
    main(sys.argv[1])
