"""A receiver's side, scripted."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable

from service.core.deliveries.request import Fault, Reply, Request

Answer = Reply | Fault | BaseException | Callable[[Request], Reply | Fault]
ACCEPTED = Reply(200, 1, b"ok")


class ScriptedSender:
    """Answers each URL with what was scripted for it, one answer after another, then with ``otherwise``."""

    def __init__(self, otherwise: Answer = ACCEPTED) -> None:
        self.otherwise: Answer = otherwise
        self.requests: list[Request] = []
        self._scripts: defaultdict[str, deque[Answer]] = defaultdict(deque)
        self._hung: dict[str, asyncio.Event] = {}
        self._has_changed = asyncio.Event()

    def script(self, url: str, *answers: Answer) -> None:
        """The next answers of ``url``."""
        self._scripts[url].extend(answers)

    def hang(self, url: str) -> asyncio.Event:
        """Let requests to ``url`` hang until the event that is returned is set."""
        return self._hung.setdefault(url, asyncio.Event())

    async def until_sent(self, count: int) -> None:
        """Wait until ``count`` requests have arrived in all."""
        async with asyncio.timeout(60):
            while len(self.requests) < count:
                self._has_changed.clear()
                await self._has_changed.wait()

    async def send(self, request: Request) -> Reply | Fault:
        self.requests.append(request)
        self._has_changed.set()
        if request.url in self._hung:
            await self._hung[request.url].wait()
        script = self._scripts[request.url]
        answer = script.popleft() if script else self.otherwise
        if isinstance(answer, BaseException):
            raise answer
        return answer if isinstance(answer, (Reply, Fault)) else answer(request)
