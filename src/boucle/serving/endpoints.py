"""The endpoints of one server, by name: what every door asks. Imported by the worker."""

from collections.abc import Iterable

from boucle.kernel.errors import NotFound
from boucle.serving.asking import Admission
from boucle.serving.endpoint import Endpoint
from boucle.serving.meter import exposition
from boucle.serving.traffic import counters_folder


class Endpoints:
    """Finds endpoints. For one event loop."""

    def __init__(self, endpoints: Iterable[Endpoint], admission: Admission | None = None) -> None:
        self._by_name = {one.name: one for one in endpoints}
        self._coming: dict[str, Endpoint] = {}
        """Not ready yet, and not answered for."""
        self._admission = admission
        self.ends = False
        """Whether the server will end: then it is not ready, and answers what comes anyway."""

    def names(self) -> list[str]:
        """The names that are answered, sorted."""
        self.arrive()
        return sorted(self._by_name)

    def __contains__(self, name: str) -> bool:
        return self.now(name) is not None

    def add(self, endpoint: Endpoint) -> None:
        """Answer for one more from the moment on in which it is ready, so that nobody meets one that cannot answer."""
        self._coming[endpoint.name] = endpoint

    def arrive(self) -> None:
        """Answer for those that are ready by now."""
        for name in [name for name, one in self._coming.items() if one.is_ready]:
            self._by_name[name] = self._coming.pop(name)

    def remove(self, name: str) -> Endpoint:
        """Answer for it no more; whoever asked it already is answered until it is closed."""
        return self._coming.pop(name, None) or self._by_name.pop(name)

    def get(self, name: str) -> Endpoint:
        """The endpoint of that name; NotFound if this server does not answer for it, Unauthenticated or Refused if who
        asks may not ask it.
        """
        found = self._by_name.get(name) or self.now(name)
        if found is None:
            names = ", ".join(map(repr, self.names())) or "none yet"
            raise NotFound(f"unknown model {name[:200]!r}; this server answers for {names}")
        if self._admission is not None:
            self._admission.check(name)
        return found

    def now(self, name: str) -> Endpoint | None:
        """The endpoint that has the name now, whoever asks; it may be another one than before."""
        if name in self._coming:
            self.arrive()
        return self._by_name.get(name)

    def stale(self) -> list[Endpoint]:
        """Those whose traffic changed, also of those that are not ready yet."""
        return [one for one in (*self._by_name.values(), *self._coming.values()) if one.is_stale()]

    @property
    def is_ready(self) -> bool:
        """Whether every endpoint would answer a question, also in a while."""
        return not self.ends and all(one.is_ready for one in self._by_name.values())

    def shadow_totals(self) -> list[tuple[str, list[int]]]:
        """What the shadows of each did, over all workers."""
        return [(name, one.shadow_totals()) for name, one in sorted(self._by_name.items())]

    def exposition(self) -> bytes:
        """What all of them count, as Prometheus reads it."""
        for one in self._by_name.values():
            one.gauge()
        return exposition((one.name, counters_folder(one.home, one.name)) for one in self._by_name.values())

    def close(self) -> None:
        """End the prediction logs durably."""
        for one in (*self._by_name.values(), *self._coming.values()):
            one.close()
