"""Model: a layer that can be trained, looked at, exported. Functional from inputs and outputs, or by subclassing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphkit.core.context import changed, current
from graphkit.core.errors import ArgumentError, StateError
from graphkit.core.lazy import module
from graphkit.core.spec import Spec
from graphkit.layers.input import Input
from graphkit.layers.layer import Layer
from graphkit.layers.naming import unique_name
from graphkit.layers.state import Contents
from graphkit.models.direct import Direct
from graphkit.models.functional import Functional
from graphkit.models.plotting import model_svg
from graphkit.models.signature import Signature, spread
from graphkit.models.summary import summary_text
from graphkit.train import loop
from graphkit.train.callback import Callback, History
from graphkit.train.classes import with_class_weight
from graphkit.train.trainer import Trainer


class Model(Layer):
    """A model of given inputs and outputs, or a subclass with a `call` of its own.

    inputs, outputs: symbols, in lists or dicts; their structure is what calls, `fit` and `predict` take and give.
    Raises ArgumentError when an output depends on an input that is not given, or when two layers have one name.
    """

    def __init__(self, inputs: Any = None, outputs: Any = None, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(name=name or (None if inputs is None else _functional_name(type(self))), **kwargs)
        self.functional: Functional | None = None
        self._signature = Signature()
        self._direct = Direct()
        self._trainer: Trainer | None = None
        self.stop_training = False
        self.history: History | None = None
        if inputs is not None:
            self.functional = Functional(inputs, outputs)
            self.built = True

    # what it is

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The outputs for values of the inputs. A dict or list is spread over the arguments of a subclass's `call`."""
        if self.functional is not None:
            plain = len(args) == 1 and (not kwargs or (len(kwargs) == 1 and kwargs.get("training") is False))
            found = self._direct(self, args[0]) if plain else None
            return super().__call__(*args, **kwargs) if found is None else found
        args, kwargs = spread(self.call, args, kwargs)
        result = super().__call__(*args, **kwargs)
        if self.functional is None and not current().stack:
            self._signature.note(self.call, args, kwargs)
        return result

    def arrange(self, given: Any, outputs: bool = False) -> Any:
        """Data in the nested structure of the inputs, or outputs, as a dict by name; everything else as it is."""
        return given if self.functional is None else self.functional.arrange(given, outputs)

    def build(self, input_shape: Any) -> None:
        """Makes the weights of a subclass by a call on symbols of this shape, or these by name or position.

        A shape has the batch first, and None where it is free.
        """
        if self.functional is None and all(layer is not self for layer in current().stack):
            self.built = True
            with changed(trace=None, recorders=(), scope=()):
                self(_of_shape(input_shape))
            self._calls.take_back()

    def call(self, inputs: Any, training: bool = False, mask: Any = None) -> Any:
        """The outputs for values of the inputs; a subclass overrides it."""
        if self.functional is None:
            raise NotImplementedError(f"{type(self).__name__} must define call(self, inputs)")
        return self.functional.replay(inputs)

    @property
    def layers(self) -> list[Any]:
        """The layers of the first level."""
        return self.functional.layers if self.functional is not None else self.sublayers()

    @property
    def input(self) -> Any:
        """The input symbols in their structure; those of its one call for a subclass."""
        return super().input if self.functional is None else self.functional.inputs

    @property
    def output(self) -> Any:
        """The output symbols in their structure; those of its one call for a subclass."""
        return super().output if self.functional is None else self.functional.outputs

    def contents(self) -> Contents:
        """The layers of its graph, what it holds in attributes, the variables that its ops read and no layer holds."""
        found = super().contents()
        if self.functional is None:
            return found
        layers = [*self.functional.layers, *found.layers]
        held = {id(w) for layer in layers for w in layer.weights} if self.functional.variables else set()
        free = [v for v in self.functional.variables if id(v) not in held]
        return found._replace(layers=layers, weights=[*found.weights, *free])

    @property
    def input_specs(self) -> list[tuple[str, Spec]] | None:
        """Name and spec of each declared input; None for a subclass."""
        return None if self.functional is None else self.functional.input_specs()

    @property
    def input_names(self) -> list[str]:
        """The names of the inputs, in declared order."""
        return [] if self.functional is None else self.functional.input_names

    @property
    def output_names(self) -> list[str] | None:
        """The names of the outputs, in declared order; None for a subclass."""
        return None if self.functional is None else self.functional.output_names

    @property
    def inputs(self) -> list[Any]:
        """The input symbols."""
        return [] if self.functional is None else self.functional.input_symbols

    @property
    def outputs(self) -> list[Any]:
        """The output symbols."""
        return [] if self.functional is None else self.functional.output_symbols

    def get_layer(self, name: str | None = None, index: int | None = None) -> Any:
        """The layer of that name, or at that place; ArgumentError lists the names."""
        if name is None:
            if index is None or not -len(self.layers) <= index < len(self.layers):
                raise ArgumentError(f"give the name of a layer, or an index below {len(self.layers)}; got {index!r}")
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ArgumentError(
            f"no layer named {name!r}; the layers are {', '.join(x.name for x in self.layers)} (model.layers)"
        )

    def summary(self, print_fn: Any = print, expand_nested: bool = False, masks: bool = False) -> None:
        """Prints the layers, their output shapes and parameters, with Keras's numbers; nested layers if asked.

        masks: also where masks begin and end, and their shapes.
        """
        print_fn(summary_text(self, expand_nested, masks))

    def _repr_svg_(self) -> str | None:
        """The picture in a notebook, beside the text; a model without a graph shows its text alone."""
        return model_svg(self)

    # training

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
    ) -> None:
        """Says how to train.

        loss, metrics: names, instances or functions; for several outputs a dict by output name or a list in order.
        run_eagerly: run steps op by op, for debugging. steps_per_execution: batches from one call of the callbacks'
        batch hooks to the next. Raises ArgumentError for a name that is no output.
        Training follows `trainable` as it is at each step, and warns where it was changed since compile.
        """
        self._trainer = Trainer(
            self, optimizer, loss, loss_weights, metrics, weighted_metrics, run_eagerly, steps_per_execution
        )

    def fit(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, epochs: int = 1, verbose: Any = "auto",
        callbacks: Sequence[Callback] | None = None, validation_split: float = 0.0, validation_data: Any = None,
        shuffle: bool = True, class_weight: Any = None, sample_weight: Any = None, initial_epoch: int = 0,
        steps_per_epoch: int | None = None, validation_steps: int | None = None,
        validation_batch_size: int | None = None, validation_freq: int | Sequence[int] = 1, resume: bool = False,
    ) -> History:  # fmt: skip
        """Trains for `epochs` passes over x and y; gives the History.

        x: an array, a list in the order of the inputs, a dict by input name, a DataFrame by column name; y alike for
        the outputs. Or x alone: a generator, a Dataset, a data loader, anything that gives (x, y[, sample_weight]).
        validation_split: the share of rows at the end that is held out. validation_data: (x, y[, sample_weight]), or
        batches; used every validation_freq epochs, or at those it lists. class_weight: {class: weight}, by output name
        for several. sample_weight: one number a row, or a dict or list for several outputs; losses are divided by the
        rows, not by the weights. steps_per_epoch: batches in an epoch. verbose: 0 nothing, 1 a bar, 2 a line an epoch,
        "auto". resume: goes on where the last fit of this model stopped, in this process or the one that saved it: the
        epoch and the batch, the order of rows, the running means; a stream is passed over up to there.
        Ctrl-C ends fit behind the step at hand; weights and model.history are kept.
        Raises StateError before `compile`, ArgumentError, ShapeError and DtypeError for data that do not fit; a dict
        with an unknown or a missing name is refused, never matched by position.
        """
        return loop.fit(self.trainer("fit"), loop.Training(
            x, y, batch_size, epochs, verbose, callbacks, validation_split, validation_data, shuffle, class_weight,
            sample_weight, initial_epoch, steps_per_epoch, validation_steps, validation_batch_size, validation_freq,
            resume,
        ))  # fmt: skip

    def evaluate(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, verbose: Any = "auto",
        sample_weight: Any = None, return_dict: bool = False, steps: int | None = None,
        callbacks: Sequence[Callback] | None = None,
    ) -> Any:  # fmt: skip
        """Loss and metrics over all rows or batches: a list, one number if there is one, or a dict with return_dict.

        verbose: 0 nothing, 1 a bar and a line, 2 a line, "auto" a bar where a terminal waits longer than half a second.
        """
        trainer = self.trainer("evaluate")
        return loop.evaluate(trainer, x, y, batch_size, sample_weight, return_dict, verbose, steps, callbacks)

    def predict(
        self, x: Any, batch_size: int | None = None, verbose: Any = "auto", steps: int | None = None,
        callbacks: Sequence[Callback] | None = None,
    ) -> Any:  # fmt: skip
        """The outputs for all rows as NumPy arrays, in the structure of the outputs; no rows give empty arrays.

        Where batches of a stream differ in a size behind the first, that output is a list of arrays, one a batch.
        verbose: as in `evaluate`.
        """
        return loop.predict(self.trainer(), x, batch_size, steps, callbacks, verbose)

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs for these rows as one batch."""
        return loop.predict(self.trainer(), x, 2**31)

    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """One training step on these rows; gives the loss and metrics of these rows alone."""
        if class_weight is not None:
            sample_weight = with_class_weight(y, class_weight, sample_weight, self.output_names)
        return self._on_batch("train", x, y, sample_weight, return_dict)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """Loss and metrics of these rows alone."""
        return self._on_batch("test", x, y, sample_weight, return_dict)

    def _on_batch(self, kind: str, x: Any, y: Any, sample_weight: Any, return_dict: bool) -> Any:
        trainer = self.trainer(f"{kind}_on_batch")
        feed = trainer.feeder(x, y, sample_weight)
        if feed.rows == 0:
            raise ArgumentError(f"{kind}_on_batch was given 0 rows")
        with trainer.exclusively() if kind == "train" else trainer.measuring():
            with trainer.one_look():
                trainer.reset_metrics()
                step = trainer.step(kind, feed)
            logs = step.logs(slice(0, feed.rows))
        return logs if return_dict else loop.listed(logs)

    def train_step(self, data: Any) -> dict[str, Any]:
        """One training step on x, (x, y) or (x, y, sample_weight); override it for a step of your own.

        fit, evaluate and History show what the last step of an epoch gave: a metric's result() is the mean over the
        epoch, since metrics on self are reset before each; a bare loss is that of the last batch alone.
        """
        return self.trainer("train_step").train_step(data)

    def test_step(self, data: Any) -> dict[str, Any]:
        """One evaluation step on x, (x, y) or (x, y, sample_weight)."""
        return self.trainer("test_step").test_step(data)

    def predict_step(self, data: Any) -> Any:
        """One prediction step on x."""
        return self.trainer().predict_step(data)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The compiled losses and the penalties, as one number."""
        return self.trainer("compute_loss").compute_loss(y, y_pred, sample_weight)

    def reset_metrics(self) -> None:
        """All running means begin anew."""
        self.trainer("reset_metrics").reset_metrics()

    @property
    def metrics(self) -> list[Any]:
        """Every metric that training updates."""
        return self.trainer("metrics").metrics

    @property
    def optimizer(self) -> Any:
        """The compiled optimizer."""
        return self.trainer("optimizer").optimizer

    def trainer(self, asked: str = "") -> Trainer:
        """What `compile` made; StateError when `asked` needs it and it was not called."""
        if self._trainer is None or (asked and not self.compiled):
            if asked:
                raise StateError(
                    f"{self.name}.{asked} needs a compiled model; call model.compile(optimizer=..., loss=...) first"
                )
            self._trainer = Trainer(self)
            self._trainer.uncompiled = True
        return self._trainer

    @property
    def compiled(self) -> bool:
        """Whether `compile` was called."""
        return self._trainer is not None and not self._trainer.uncompiled

    def profile(
        self, x: Any, y: Any = None, sample_weight: Any = None, steps: int = 20, training: bool = True,
        trace: Any = None,
    ) -> Any:  # fmt: skip
        """Where the time of a training step on this batch goes, by layer and by op; print the Profile it gives.

        Each call of the compiled step is timed for some steps; weights, optimizer, metrics and random state are put
        back. training=False: a prediction step, of x alone. trace: a file for Chrome trace events of one step.
        """
        profiling = module("graphkit.models.profiling")
        return profiling.profile_model(self, x, y, sample_weight, steps, training, trace)

    # the file

    def save(self, path: Any) -> None:
        """Writes architecture, weights and the state of training into one file, which `models.load_model` reads.

        Raises SavingError, and leaves the path as it was, where an argument of a layer cannot be written.
        """
        module("graphkit.models.saving").save_model(self, path)

    def save_weights(self, path: Any) -> None:
        """Writes the weights by layer path, as a safetensors file."""
        module("graphkit.models.saving").save_weights(self, path)

    def load_weights(self, path: Any, strict: bool = True) -> Any:
        """Sets the weights by layer path, whatever the order of creation; gives a report: loaded, skipped, missing.

        Raises SavingError where strict and a path is on one side alone, ShapeError naming layer, variable and both
        shapes; nothing is changed then.
        """
        return module("graphkit.models.saving").load_weights(self, path, strict)

    def load_state(self, path: Any) -> None:
        """Sets weights, optimizer and random state from a file that `save` wrote of the same model, compiled alike."""
        module("graphkit.models.saving").load_state(self, path)

    def export(
        self, path: Any, opset: int = 20, verify: bool = True, input_signature: Any = None,
        extra_outputs: Sequence[str] = (), outputs: Any = None, signatures: Any = None,
        external_data: bool | int = 1 << 30, fold_batch_norm: bool = False,
    ) -> Any:  # fmt: skip
        """Writes the model as an ONNX file and checks it against `predict`; gives the report.

        path: the file, in a folder that exists. opset: 17 to the newest onnx knows. verify=False skips the comparison.
        input_signature: for a subclass that was not called: {name: shape with the batch} or a list of Inputs.
        extra_outputs: layers whose values the file gives too, behind the declared outputs and under the layers' paths:
        "enc/h1", "enc/h1:1" for its second call, "lstm[1]" for the second of several values; checked as the others.
        outputs: the file's outputs in place of the declared ones: names, or {public name: output, layer or symbol}.
        signatures: {name: a Model, (inputs, outputs) or gradient_of(...)}: each a file `model.NAME.onnx` beside `path`,
        all over one `model.weights`; gives the reports by signature then. external_data: above how many bytes weights
        lie in that file although there is one signature alone; True always, False never.
        fold_batch_norm: batch normalizations go into the weights of the convolutions in front of them.
        Raises ExportError, and leaves the path as it was, when a file does not answer as the model does, and
        ArgumentError with the paths there are for an unknown one.
        """
        return module("graphkit.models.exporting").export_model(
            self, path, opset, verify, input_signature, extra_outputs, outputs, signatures, external_data,
            fold_batch_norm,
        )  # fmt: skip

    def serve(self, name: str | None = None, signatures: Any = None, device: str = "auto", **options: Any) -> Any:
        """A server of this model in a process of its own, ready to answer: `with model.serve() as server: ...`.

        Gives a `graphkit.serving.Server`: `server.infer({"x": x})`, `server.client`, `server.address`, `server.stop()`.
        name: on the wire, the model's own by default. device: auto, cpu, cuda, cuda:1. options: port; options, a list
        for `python -m serve`; those of `export`. Raises what `export` does, and ServingError with what the server said.
        """
        return module("graphkit.serving").serve_model(self, name, signatures, device, **options)

    def verify_export(self, path: Any, sizes: Any = None, rtol: float | None = None, signature: Any = None) -> Any:
        """Compares a file with `predict` and its weights with the model's; gives the report, whose `table` prints.

        sizes: dicts by name, or (batch, length, ...), the last for the free sizes left; those of `export` by default.
        rtol: the difference allowed, as a share of the largest value of an output. signature: what export was given
        for the file, where names do not tell. Raises ExportError with the table and the first layer that differs.
        """
        return module("graphkit.models.verifying").verify_export(self, path, sizes, rtol, signature)


def _of_shape(shape: Any, name: str | None = None) -> Any:
    """An Input of this shape, or one for each in a list or a dict by name."""
    if isinstance(shape, dict):
        return {key: _of_shape(inner, str(key)) for key, inner in shape.items()}
    if all(size is None or isinstance(size, int) for size in shape):
        return Input(batch_shape=tuple(shape), name=name)
    return [_of_shape(inner) for inner in shape]


def _functional_name(kind: type) -> str | None:
    """Keras names functional models functional, functional_1 and so on."""
    return unique_name("functional") if kind is Model else None
