"""Floor 4: losses, metrics, optimizers, callbacks, data and the trainer."""
