"""The models of a server: which versions are there, which are loaded, which one answers.

`<repository>/<model>/<version>/model.onnx`; a version is a whole number above 0 without a leading
zero. The highest ready version answers where none is named. A new version is loaded before the old
one goes, and one that cannot be loaded stays in the index with its reason while the others serve.
Look-ups read a table that is replaced as a whole, so they need no lock; changes to one model wait
for each other.
"""

import contextlib
import enum
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from serve.errors import FailedPreconditionError, InvalidArgumentError, LoadError, NotFoundError, UnavailableError
from serve.folders import Found, Source, Sources
from serve.loading import Loader
from serve.model_config import MODEL_FILE, ModelSettings, Policy, read_config
from serve.processors import give_back_memory
from serve.session import Session, SessionSettings
from serve.signatures import quoted
from serve.versions import UNLOADED, Model, State, Version

__all__ = ["MODEL_FILE", "Mode", "Model", "Repository", "State", "Version", "load"]

_LOADERS = 4
#: How long an unload waits for requests that are being answered, before it leaves them to themselves.
UNLOAD_SECONDS = 30.0
#: A load that lasts longer is told of while it lasts.
LONG_LOAD = 5.0

_log = logging.getLogger("serve")


class Mode(enum.Enum):
    """Whether models change: never, with their folders, or when somebody says so."""

    NONE = "none"
    POLL = "poll"
    EXPLICIT = "explicit"


@dataclass(frozen=True)
class Options:
    """`policy` where a model's configuration gives none, `labels` by model, `chosen` to load at an EXPLICIT start."""

    mode: Mode = Mode.NONE
    policy: Policy = field(default_factory=Policy)
    labels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    chosen: tuple[str, ...] = ()
    settle_seconds: float = 2.0


class Repository:
    """Every model the server was given, by name."""

    def __init__(self, sources: Sources, loader: Loader, options: Options | None = None) -> None:
        self._sources = sources
        self._loader = loader
        self.options = options or Options()
        self._models: dict[str, Model] = {}
        self._leaving: dict[tuple[str, int], list[weakref.ref[Version]]] = {}
        self._awaited: weakref.WeakSet[threading.Event] = weakref.WeakSet()
        self._closed = False
        self._table = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._tell: list[Callable[[], None]] = []
        self._settling: dict[str, tuple[object, float]] = {}
        self.has_started = False

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def on_change(self, tell: Callable[[], None]) -> None:
        """Have this called, on any thread, after each change of what is ready."""
        self._tell.append(tell)

    def model(self, name: str) -> Model:
        """Return the model of that name.

        Raises NotFoundError listing the names where there is none, UnavailableError while others are being loaded.
        """
        model = self._models.get(name)
        if model is None and not self.has_started:
            raise UnavailableError(f"Server not ready: it is loading its models, maybe {name!r} among them")
        if model is None:
            raise NotFoundError(
                f"Request for unknown model: {name!r} is not found; the models are {quoted(self._models)}; "
                "RepositoryIndex tells their state"
            )
        return model

    def ready_version(self, name: str, version: str, signature: str | None = None) -> tuple[Version, Session]:
        """Return a version that can answer, with the session of that signature.

        Raises what `model`, `Model.version` and `Version.signature` raise, and UnavailableError for a
        version that is there and not ready.
        """
        found = self.model(name).version(version)
        if not found.sessions:
            told = found.reason or found.state.value
            raise UnavailableError(f"version {found.number} of model '{name}' is not at ready state: {told}")
        return found, found.signature(signature)

    def index(self, only_ready: bool = False) -> Iterator[tuple[str, str, str, str]]:
        """Name, version, state and reason of every version, and of models without one."""
        names = set() if only_ready or self.options.mode is not Mode.EXPLICIT else set(self._sources.all())
        leaving = {place for place, refs in list(self._leaving.items()) if any(ref() for ref in refs)}
        for name in sorted(names | set(self._models)):
            model = self._models.get(name)
            if model is None:
                yield name, "", "", ""
                continue
            for number, one in model.versions.items():
                if one.sessions or not only_ready:
                    yield name, str(number), one.state.value, one.reason or one.note
            for _, number in sorted(place for place in leaving if place[0] == name and place[1] not in model.versions):
                if not only_ready:
                    yield name, str(number), State.UNLOADING.value, "requests are being finished"
            if not model.versions and not only_ready:
                yield name, "", State.UNAVAILABLE.value, model.reason

    def start(self) -> None:
        """Load what the mode wants at the start, several models at a time."""
        sources = self._sources.all()
        if self.options.mode is Mode.EXPLICIT and "*" not in self.options.chosen:
            for name in set(self.options.chosen) - set(sources):
                self._publish(Model(name, reason="it is not in the repository"))
            sources = {name: source for name, source in sources.items() if name in self.options.chosen}
        with ThreadPoolExecutor(_LOADERS) as pool:
            list(pool.map(self._refresh, sources.values()))
        self._loader.rest(0 if self.options.mode is Mode.NONE else 1)
        self.has_started = True
        self._changed()

    def load(self, name: str) -> None:
        """Load a model, or what changed of it.

        Raises FailedPreconditionError in another mode than EXPLICIT, NotFoundError for an absent model,
        InvalidArgumentError with the reasons where a version failed; what served before still serves.
        """
        self._check_explicit(name)
        source = self._sources.find(name)
        if source is None:
            raise NotFoundError(f"failed to load '{name}': it is not in the repository")
        failed = self._refresh(source, again=True)
        if failed:
            raise InvalidArgumentError(f"load failed for model '{name}': {failed}")

    def unload(self, name: str, seconds: float = UNLOAD_SECONDS) -> None:
        """Take a model away and wait, so long at the most, for the requests that it is answering.

        Raises FailedPreconditionError in another mode than EXPLICIT, NotFoundError for an unknown one.
        """
        self._check_explicit(name)
        if name not in self._models and self._sources.find(name) is None:
            raise NotFoundError(f"failed to unload '{name}': it is not known")
        with self._lock(name):
            gone = self._publish(Model(name, reason=UNLOADED))
        for event in gone:
            event.wait(seconds)
        give_back_memory()

    def poll(self, now: float) -> None:
        """Compare the folders with what is loaded; load what is new and complete, drop what is gone.

        `now` is any steady clock: a folder without a manifest must have rested for `settle_seconds`.
        """
        sources = self._sources.all()
        for name in set(self._models) - set(sources):
            with self._lock(name):
                self._publish(None, name)
        for name, source in sources.items():
            seen = source.fingerprint()
            before, since = self._settling.get(name, (None, now))
            if before != seen:
                self._settling[name] = seen, now
                since = now
            elif since < 0:
                continue
            if source.is_whole() or now - since >= self.options.settle_seconds:
                self._refresh(source)
                self._settling[name] = seen, -1.0

    def close(self) -> None:
        """End what tries model files, so loads under way fail, and what waits for requests to be finished."""
        self._loader.close()
        with self._table:
            self._closed = True
            awaited = list(self._awaited)
        for event in awaited:
            event.set()

    def _check_explicit(self, name: str) -> None:
        self._sources.check_name(name)
        if self.options.mode is not Mode.EXPLICIT:
            raise FailedPreconditionError(
                f"nobody loads or unloads models in mode {self.options.mode.value}; start with --model-control explicit"
            )

    def _lock(self, name: str) -> threading.Lock:
        with self._table:
            return self._locks.setdefault(name, threading.Lock())

    def _refresh(self, source: Source, again: bool = False) -> str:
        """Bring one model to what its folder says; `again` also retries what failed. Returns what failed."""
        with self._lock(source.name):
            old = self._models.get(source.name, Model(source.name))
            try:
                config = read_config(source.folder, source.name)
                found = source.versions(config.policy or self.options.policy)
            except LoadError as error:
                self._publish(replace(old, reason=str(error)))
                return self._told(source.name, str(error))
            for note in config.notes:
                _log.warning("model '%s': config.pbtxt: %s", source.name, note)
            return self._load_wanted(source.name, found, config, old, again)

    def _load_wanted(
        self, name: str, found: Mapping[int, Found], config: ModelSettings, old: Model, again: bool
    ) -> str:
        policy = config.policy or self.options.policy
        fresh: dict[int, Version] = {}
        for number in policy.order(found):
            if policy.count is not None and sum(bool(one.sessions) for one in fresh.values()) >= policy.count:
                break
            fresh[number] = self._version(name, number, found[number], config, old, again)
        failed = "; ".join(f"version {number}: {one.reason}" for number, one in fresh.items() if one.reason)
        if not any(one.sessions for one in fresh.values()) and failed:
            fresh = {number: one for number, one in old.versions.items() if one.sessions} | fresh
        reason = "" if fresh else f"no version folder such as 1/{config.file} that the policy wants"
        labels = self._labels(name, config, fresh, old)
        self._publish(Model(name, dict(sorted(fresh.items())), reason, labels, config))
        return self._told(name, reason or failed) if reason or failed else ""

    def _version(self, name: str, number: int, found: Found, config: ModelSettings, old: Model, again: bool) -> Version:
        """The version as it is loaded already, or loaded now; an older state of it serves on where that fails."""
        before = old.versions.get(number)
        mark = (found.fingerprint, config.message.SerializeToString(deterministic=True))
        if before is not None and before.fingerprint == mark and not (again and before.reason):
            return before
        if before is None or not before.sessions:
            self._publish_version(name, Version(name, number, {}, "", State.LOADING))
        try:
            with _told_where_long(name, number):
                sessions = self._loader.load(found.folder, config)
        except LoadError as error:
            if before is not None and before.sessions:
                return replace(before, reason=f"its newer files are not loaded: {error}", fingerprint=mark)
            return Version(name, number, {}, str(error), State.UNAVAILABLE, mark)
        note = _difference(sessions, old)
        if note:
            _log.warning("model '%s': version %d %s", name, number, note)
        return Version(name, number, sessions, "", State.READY, mark, note)

    def _labels(self, name: str, config: ModelSettings, fresh: Mapping[int, Version], old: Model) -> dict[str, int]:
        """A label moves only to a version that is ready; else it stays where it was."""
        labels = {}
        for label, number in {**config.labels, **self.options.labels.get(name, {})}.items():
            if number in fresh and fresh[number].sessions:
                labels[label] = number
            elif label in old.labels:
                labels[label] = old.labels[label]
            if labels.get(label) != number:
                _log.warning("model '%s': label '%s' waits for version %d to be ready", name, label, number)
        return labels

    def _told(self, name: str, reason: str) -> str:
        _log.warning("model '%s' is not loaded as its folder says: %s", name, reason)
        return reason

    def _publish_version(self, name: str, version: Version) -> None:
        model = self._models.get(name, Model(name))
        versions = {**model.versions, version.number: version}
        self._publish(replace(model, versions=dict(sorted(versions.items()))))

    def _publish(self, model: Model | None, name: str = "") -> list[threading.Event]:
        """Replace one row of the table, None removing it, and tell; return events for when what left is released."""
        events = self._swap(model.name if model is not None else name, model)
        self._changed()
        return events

    def _changed(self) -> None:
        for tell in self._tell:
            tell()

    def _swap(self, name: str, model: Model | None) -> list[threading.Event]:
        with self._table:
            old = self._models.get(name)
            rest = {key: value for key, value in self._models.items() if key != name}
            self._models = dict(sorted({**rest, name: model}.items())) if model is not None else rest
            kept = {id(version) for version in model.versions.values()} if model is not None else set()
            gone = [one for one in (old.versions.values() if old else ()) if one.sessions and id(one) not in kept]
            events = [threading.Event() for _ in gone]
            self._leaving = {place: live for place, refs in self._leaving.items() if (live := [r for r in refs if r()])}
            for version, event in zip(gone, events, strict=True):
                if self._closed:
                    event.set()
                self._awaited.add(event)
                weakref.finalize(version, event.set)
                self._leaving.setdefault((name, version.number), []).append(weakref.ref(version))
        return events


@contextlib.contextmanager
def _told_where_long(name: str, number: int) -> Iterator[None]:
    """A load that lasts longer than some seconds stands in the log, and so does the time that it took."""
    begun = time.monotonic()
    watch = threading.Timer(LONG_LOAD, _log.info, ("model '%s': version %d is still being loaded", name, number))
    watch.daemon = True
    watch.start()
    try:
        yield
    finally:
        watch.cancel()
    if (seconds := time.monotonic() - begun) >= LONG_LOAD:
        _log.info("model '%s': version %d is loaded after %.1f s", name, number, seconds)


def _difference(sessions: Mapping[str, Session], old: Model) -> str:
    """Say where the default signature is not that of the version which answered so far."""
    if not old.ready:
        return ""
    last = old.ready[-1]
    new, before = next(iter(sessions.values())).signature, next(iter(last.sessions.values())).signature
    same = (new.inputs, new.outputs) == (before.inputs, before.outputs)
    return "" if same else f"has another signature than version {last.number}"


def load(folder: Path | None, flat: Mapping[str, Path], settings: SessionSettings, **options: object) -> Repository:
    """Load every model under the repository folder, and every flat model folder by its name.

    Raises StartError for a folder that is not there, a name that no model may have, or a name
    given twice. A file that cannot be loaded is no error: it is unavailable, with its reason.
    """
    repository = Repository(Sources(folder, flat), Loader(settings), Options(**options))  # type: ignore[arg-type] # fields
    repository.start()
    return repository
