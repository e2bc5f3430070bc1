"""Floor 5: graphs as ONNX files, checked against the trainer's own answers. onnx loads when it is used."""
