"""Constructor arguments, noted when an object is made, so that a file can say how to make it again."""

from __future__ import annotations

import functools
import inspect
from typing import Any


class Recorded:
    """Notes the arguments of its constructor in `_arguments`, by the names of the parameters."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = _recorded(cls.__init__)  # type: ignore[method-assign] # the hook that layers have, for the rest


def _recorded(init: Any) -> Any:
    signature = functools.cache(lambda: inspect.signature(init))  # most classes are never made

    @functools.wraps(init)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        if "_arguments" not in vars(self):
            vars(self)["_arguments"] = dict(list(signature().bind_partial(self, *args, **kwargs).arguments.items())[1:])
        init(self, *args, **kwargs)

    return wrapped
