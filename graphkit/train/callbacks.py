"""Callbacks under Keras's names."""

from graphkit.train.callback import Callback, CallbackList, History, LambdaCallback, Logs
from graphkit.train.checkpoints import BackupAndRestore, CSVLogger, ModelCheckpoint
from graphkit.train.stopping import EarlyStopping, LearningRateScheduler, ReduceLROnPlateau, TerminateOnNaN

__all__ = [
    "BackupAndRestore", "CSVLogger", "Callback", "CallbackList", "EarlyStopping", "History", "LambdaCallback",
    "LearningRateScheduler", "Logs", "ModelCheckpoint", "ReduceLROnPlateau", "TerminateOnNaN",
]  # fmt: skip
