"""TensorBoard: figures, weights and the graph of a model as event files, in the folders and under the tags of Keras."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from graphkit.core.errors import ArgumentError
from graphkit.core.lazy import module
from graphkit.graph.symbol import Symbol
from graphkit.train.callback import Callback, Logs
from graphkit.train.settings import count

EXTRA = "graphkit[tensorboard]"


class TensorBoard(Callback):
    """Writes log_dir/train and log_dir/validation, which `tensorboard --logdir` shows.

    epoch_loss, epoch_<metric> and epoch_learning_rate by epoch, from 0; evaluation_<metric>_vs_iterations in the
    validation's folder. update_freq: "batch" or a number of batches for batch_<metric> too, by the batches so far.
    histogram_freq: each so many epochs, the weights as <path>/histogram. write_graph: the layers of a functional model
    and what feeds them. write_steps_per_second: epoch_steps_per_second and batch_steps_per_second.
    The other arguments are Keras's: ArgumentError where they ask for images, profiles or embeddings. Raises StateError
    where the package tensorboard is missing.
    """

    def __init__(
        self, log_dir: Any = "logs", histogram_freq: int = 0, write_graph: bool = True, write_images: bool = False,
        write_steps_per_second: bool = False, update_freq: str | int = "epoch", profile_batch: Any = 0,
        embeddings_freq: int = 0, embeddings_metadata: Any = None,
    ) -> None:  # fmt: skip
        undone = {"write_images": write_images, "profile_batch": profile_batch, "embeddings_freq": embeddings_freq,
                  "embeddings_metadata": embeddings_metadata}  # fmt: skip
        for name, value in undone.items():
            if value:
                raise ArgumentError(f"TensorBoard: {name}={value!r} is not done by graphkit; leave it out")
        if isinstance(update_freq, str) and update_freq not in ("batch", "epoch"):
            raise ArgumentError(f"TensorBoard: update_freq is 'batch', 'epoch' or a number, got {update_freq!r}")
        often = {"batch": 1, "epoch": None}[update_freq] if isinstance(update_freq, str) else update_freq
        self.update_freq = count("TensorBoard: update_freq", often, 1)
        self.log_dir, self.write_graph = Path(log_dir), write_graph
        self.histogram_freq = count("TensorBoard: histogram_freq", histogram_freq, 0)
        self.write_steps_per_second = write_steps_per_second
        self._event_file = module("tensorboard.summary.writer.event_file_writer", EXTRA)
        self._events = module("tensorboard.compat.proto.event_pb2", EXTRA)
        self._scalars = module("tensorboard.plugins.scalar.summary_v2", EXTRA)
        self._writers: dict[str, Any] = {}
        self._training = False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._training, self._before, self._batches = True, 0, 0
        if self.write_graph and self.model.functional is not None:
            self._add("train", 0, graph_def=_graph(self.model.functional).SerializeToString())

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._training = False
        self._close()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._before = self._batches
        self._begin = time.perf_counter()

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._batches = self._before + batch
        self._begin_batch = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        last, self._batches = self._batches, self._before + batch + 1
        if self.update_freq is None or self._batches // self.update_freq == last // self.update_freq:
            return
        figures = {f"batch_{k}": v for k, v in (logs or {}).items()}
        if self.write_steps_per_second:
            figures["batch_steps_per_second"] = (self._batches - last) / (time.perf_counter() - self._begin_batch)
        self._scalar("train", self._batches, figures)

    def on_test_end(self, logs: Logs | None = None) -> None:
        optimizer = self.model.optimizer if self.model.compiled else None
        if optimizer is not None:
            steps = int(optimizer.iterations)
            self._scalar("validation", steps, {f"evaluation_{k}_vs_iterations": v for k, v in (logs or {}).items()})
        if not self._training:
            self._close()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        figures = {f"epoch_{k}": v for k, v in (logs or {}).items() if not k.startswith("val_")}
        if self.model.optimizer is not None:
            figures["epoch_learning_rate"] = float(self.model.optimizer.learning_rate)
        if self.write_steps_per_second:
            figures["epoch_steps_per_second"] = self.params["ran"] / (time.perf_counter() - self._begin)
        held_out = {f"epoch_{k[4:]}": v for k, v in (logs or {}).items() if k.startswith("val_")}
        self._scalar("train", epoch, figures)
        self._scalar("validation", epoch, held_out)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            histograms = module("tensorboard.plugins.histogram.summary_v2", EXTRA)
            for weight in self.model.weights:
                summary = histograms.histogram_pb(f"{weight.path}/histogram", weight.numpy())
                self._add("train", epoch, summary=summary)
        for writer in self._writers.values():
            writer.flush()

    def _scalar(self, run: str, step: int, figures: Logs) -> None:
        for tag, value in figures.items():
            self._add(run, step, summary=self._scalars.scalar_pb(tag, value))

    def _add(self, run: str, step: int, **what: Any) -> None:
        if run not in self._writers:
            self._writers[run] = self._event_file.EventFileWriter(str(self.log_dir / run))
        self._writers[run].add_event(self._events.Event(wall_time=time.time(), step=step, **what))

    def _close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}


def _graph(functional: Any) -> Any:
    """The calls of a functional model as TensorFlow's GraphDef: their names, their classes, what feeds them."""
    found = module("tensorboard.compat.proto.graph_pb2", EXTRA).GraphDef()
    taken: set[str] = set()

    def add(name: str, kind: str, inputs: list[str]) -> str:
        free, number = name, 0
        while free in taken:
            number += 1
            free = f"{name}_{number}"
        taken.add(free)
        found.node.add(name=free, op=kind, input=list(dict.fromkeys(inputs)))
        return free

    def walk(graph: Any, prefix: str, sources: dict[int, str]) -> list[str]:
        for node in graph.nodes:
            layer = getattr(node.op, "layer", None)
            inner = getattr(layer, "functional", None)
            name = f"{prefix}{node.op.name}"
            if inner is None:
                kind = type(node.op if layer is None else layer).__name__
                given = [sources[id(x)] for x in node.inputs if id(x) in sources]
                ends = [add(name, kind, given)] * len(node.outputs)
            else:
                values = [x for x in inner.match(node.op.arguments[0][0]) if isinstance(x, Symbol)]
                begins = {id(s): sources[id(x)] for s, x in zip(inner.input_symbols, values, strict=True)}
                ends = walk(inner, f"{name}/", begins)
            sources.update({id(s): end for s, end in zip(node.outputs, ends, strict=False)})
        return [sources[id(s)] for s in graph.output_symbols]

    walk(functional, "", {id(s): add(s.name, "Input", []) for s in functional.input_symbols})
    return found
