"""A client that knows nothing but reflection finds the services, makes the messages and calls them."""

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from serve.messages import HEALTH, INFERENCE, REFLECTIONS, service_methods


@pytest.fixture(scope="module")
def server(tmp_path_factory, onnx_models, background):
    root = tmp_path_factory.mktemp("models")
    onnx_models.f1(root / "f1" / "1" / "model.onnx")
    return background(root)


def asker(channel, name):
    method = service_methods(name)["ServerReflectionInfo"]
    call = channel.stream_stream(
        method.path,
        request_serializer=method.request.SerializeToString,
        response_deserializer=method.response.FromString,
    )
    return lambda **fields: next(iter(call(iter([method.request(host="here", **fields)]), timeout=20)))


@pytest.mark.parametrize("name", REFLECTIONS)
def test_from_nothing_to_an_answer(server, name):
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        ask = asker(channel, name)
        services = [one.name for one in ask(list_services="").list_services_response.service]
        assert services == [INFERENCE, HEALTH, *REFLECTIONS]
        pool = descriptor_pool.DescriptorPool()
        for service in services:
            answer = ask(file_containing_symbol=service)
            for data in reversed(answer.file_descriptor_response.file_descriptor_proto):
                pool.Add(descriptor_pb2.FileDescriptorProto.FromString(data))
        found = pool.FindServiceByName(INFERENCE)
        assert len(found.methods) == 20
        method = found.FindMethodByName("ModelReady")
        request = message_factory.GetMessageClass(method.input_type)(name="f1")
        response = message_factory.GetMessageClass(method.output_type)
        call = channel.unary_unary(
            f"/{INFERENCE}/ModelReady",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        assert call(request, timeout=20).ready


@pytest.mark.parametrize("name", REFLECTIONS)
def test_what_it_answers_to_the_rest(server, name):
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        ask = asker(channel, name)
        named = ask(file_by_filename="health.proto").file_descriptor_response.file_descriptor_proto
        assert descriptor_pb2.FileDescriptorProto.FromString(named[0]).package == "grpc.health.v1"
        method = ask(file_containing_symbol=f"{INFERENCE}.ModelInfer").file_descriptor_response.file_descriptor_proto
        assert len(method) == 2
        for fields in ({"file_by_filename": "no.proto"}, {"file_containing_symbol": "inference.Nothing"}):
            answer = ask(**fields)
            assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
            assert next(iter(fields.values())) in answer.error_response.error_message
        assert ask(all_extension_numbers_of_type="inference.ModelConfig").error_response.error_code == 5
        assert ask().error_response.error_code == grpc.StatusCode.UNIMPLEMENTED.value[0]
        assert ask(list_services="").original_request.host == ask(list_services="").valid_host == "here"
