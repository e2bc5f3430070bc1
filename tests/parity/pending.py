"""The cases that graphkit does not pass yet, and what will bring each. A test fails once one of them passes."""

from __future__ import annotations

from fnmatch import fnmatch

LOSSES = "the part that finishes the losses"
OPTIMIZERS = "the part that finishes the optimizers"
AVERAGES = "the part on averages of weights and accumulated gradients"
PENDING: dict[str, dict[str, str]] = {
    "losses": {"circle*": LOSSES, "ctc": LOSSES},
    "optimizers": {
        "*_ema*": AVERAGES,
        "*_accumulate*": AVERAGES,
        "adafactor*": OPTIMIZERS,
        "muon": OPTIMIZERS,
        "loss_scale_sgd": OPTIMIZERS,
        "schedule_free_adamw": OPTIMIZERS,
    },
}


def awaited(family: str, name: str) -> str | None:
    """What brings a case that does not pass yet; None for those that must."""
    return next((what for pattern, what in PENDING.get(family, {}).items() if fnmatch(name, pattern)), None)
