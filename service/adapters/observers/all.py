"""Several listeners as one observer: each is told what it cares about."""

from collections.abc import Callable
from typing import Any

from service.ports.observer import Happening, Listener


class Observers:
    """Tells each listener in turn.

    It is called several times for each delivery: a look into a table by type costs the same however many kinds there
    are, and a happening that nobody hears, its making included, a tenth of a microsecond.
    """

    def __init__(self, *listeners: Listener) -> None:
        heard: dict[type[Happening], list[Callable[[Any], None]]] = {}
        for listener in listeners:
            for kind, hear in listener.hears.items():
                heard.setdefault(kind, []).append(hear)
        self._heard = {kind: tuple(hearers) for kind, hearers in heard.items()}

    def tell(self, happening: Happening, /) -> None:
        """Tell those who hear of such things."""
        for hear in self._heard.get(type(happening), ()):
            hear(happening)
