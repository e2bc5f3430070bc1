"""Intersection over union of classes, from a table of counts: what is true by what is predicted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphkit import ops
from graphkit.core.context import claim
from graphkit.core.dimension import count
from graphkit.core.errors import ArgumentError
from graphkit.core.op import spec_of
from graphkit.train.confusion import weights_of
from graphkit.train.metric import Metric
from graphkit.train.reduction import over, same_shape


class IoU(Metric):
    """tp / (tp + fp + fn) of each class, averaged over the target classes that occur.    any, any -> ()

    sparse_y_true, sparse_y_pred: class numbers; else scores along `axis`, of which the largest counts. Elements
    labelled ignore_class do not count. Weights are cut to whole numbers, as Keras does. ArgumentError for class numbers
    outside.
    """

    def __init__(
        self, num_classes: int, target_class_ids: Sequence[int], name: str | None = None, dtype: Any = None,
        ignore_class: int | None = None, sparse_y_true: bool = True, sparse_y_pred: bool = True, axis: int = -1,
    ) -> None:  # fmt: skip
        super().__init__(name, dtype)
        if not all(0 <= i < num_classes for i in target_class_ids):
            raise ArgumentError(f"target_class_ids must lie in [0, {num_classes}), got {list(target_class_ids)}")
        self.num_classes, self.ignore_class, self.axis = num_classes, ignore_class, axis
        self.sparse_y_true, self.sparse_y_pred = sparse_y_true, sparse_y_pred
        self.table = self.add_variable((num_classes, num_classes), name="table")
        self.target = np.isin(np.arange(num_classes), list(target_class_ids))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds one batch; weights have the first sizes of the class numbers."""
        y_true = y_true if self.sparse_y_true else ops.argmax(y_true, self.axis)
        y_pred = y_pred if self.sparse_y_pred else ops.argmax(y_pred, self.axis)
        y_true, y_pred = same_shape(type(self).__name__, y_true, y_pred)
        weights = ops.floor(weights_of(y_pred, sample_weight))
        if self.ignore_class is not None:
            weights = ops.where(ops.equal(y_true, self.ignore_class), 0.0, weights)
        size = (count(spec_of(y_pred).dims),)
        true, found = (
            ops.one_hot(ops.cast(ops.reshape(y, size), "int64"), self.num_classes, "float64") for y in (y_true, y_pred)
        )
        weighted = true * ops.expand_dims(ops.reshape(weights, size), 1)
        self.table.assign(self.table + ops.matmul(ops.transpose(weighted, (1, 0)), found))

    def result(self) -> Any:
        """The mean so far."""
        diagonal = np.eye(self.num_classes)
        both = ops.sum(self.table * diagonal, 0)
        either = ops.sum(self.table, 0) + ops.sum(self.table, 1) - both
        occurs = ops.logical_and(ops.not_equal(either, 0.0), self.target)
        shares = ops.where(occurs, over(both, either), 0.0)
        return ops.cast(over(ops.sum(shares), ops.sum(ops.cast(occurs, "float64"))), self.dtype)


class MeanIoU(IoU):
    """The intersection over union of all classes that occur, averaged.    See `IoU`."""

    def __init__(
        self, num_classes: int, name: str | None = None, dtype: Any = None, ignore_class: int | None = None,
        sparse_y_true: bool = True, sparse_y_pred: bool = True, axis: int = -1,
    ) -> None:  # fmt: skip
        claim(32 * num_classes, f"a list of {num_classes} classes")
        classes = list(range(num_classes))
        super().__init__(num_classes, classes, name, dtype, ignore_class, sparse_y_true, sparse_y_pred, axis)


class BinaryIoU(IoU):
    """The same for two classes, where y_pred of `threshold` or more is class 1."""

    def __init__(
        self, target_class_ids: Sequence[int] = (0, 1), threshold: float = 0.5, name: str | None = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(2, target_class_ids, name, dtype)
        self.threshold = threshold

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds one batch; weights have the first sizes of y_pred."""
        super().update_state(y_true, ops.cast(ops.convert_to_tensor(y_pred) >= self.threshold, "int64"), sample_weight)


class OneHotIoU(IoU):
    """The same for one-hot y_true and scores y_pred along `axis`."""

    def __init__(
        self, num_classes: int, target_class_ids: Sequence[int], name: str | None = None, dtype: Any = None,
        ignore_class: int | None = None, sparse_y_pred: bool = False, axis: int = -1,
    ) -> None:  # fmt: skip
        super().__init__(num_classes, target_class_ids, name, dtype, ignore_class, False, sparse_y_pred, axis)


class OneHotMeanIoU(MeanIoU):
    """The same for all classes that occur."""

    def __init__(
        self, num_classes: int, name: str | None = None, dtype: Any = None, ignore_class: int | None = None,
        sparse_y_pred: bool = False, axis: int = -1,
    ) -> None:  # fmt: skip
        super().__init__(num_classes, name, dtype, ignore_class, False, sparse_y_pred, axis)
