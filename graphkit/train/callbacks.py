"""Callbacks under Keras's names."""

from graphkit.train.callback import Callback, CallbackList, History, LambdaCallback
from graphkit.train.checkpoints import BackupAndRestore, CSVLogger, ModelCheckpoint
from graphkit.train.nan_finder import NaNFinder
from graphkit.train.stopping import EarlyStopping, LearningRateScheduler, ReduceLROnPlateau, TerminateOnNaN
from graphkit.train.tensorboard import TensorBoard

__all__ = [
    "BackupAndRestore", "CSVLogger", "Callback", "CallbackList", "EarlyStopping", "History", "LambdaCallback",
    "LearningRateScheduler", "ModelCheckpoint", "NaNFinder", "ReduceLROnPlateau", "TensorBoard",
    "TerminateOnNaN",
]  # fmt: skip
