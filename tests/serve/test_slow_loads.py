"""A load that takes long stands in the log while it lasts and when it is done; a quick one does not."""

import logging
import threading

import pytest

from serve import repository as module


class Seen(logging.Handler):
    """Sets its event at the first record."""

    def __init__(self):
        super().__init__()
        self.event = threading.Event()

    def emit(self, record):
        self.event.set()


@pytest.fixture
def seen():
    log, handler = logging.getLogger("serve"), Seen()
    log.addHandler(handler)
    yield handler.event
    log.removeHandler(handler)


@pytest.mark.parametrize("seconds", [0.0, 3600.0])
def test_a_load_over_the_limit_is_told(seconds, tmp_path, onnx_models, explicit, caplog, seen, monkeypatch):
    onnx_models.plus(tmp_path / "plus" / "1" / "model.onnx", 1)
    repository = explicit(tmp_path)
    caplog.set_level(logging.INFO, "serve")
    monkeypatch.setattr(module, "LONG_LOAD", seconds)
    load = repository._loader.load

    def slow(folder, config):
        assert seconds or seen.wait(60)
        return load(folder, config)

    monkeypatch.setattr(repository._loader, "load", slow)
    onnx_models.plus(tmp_path / "plus" / "2" / "model.onnx", 2)
    repository.load("plus")
    assert ("model 'plus': version 2 is still being loaded" in caplog.text) == (seconds == 0)
    assert ("model 'plus': version 2 is loaded after" in caplog.text) == (seconds == 0)
