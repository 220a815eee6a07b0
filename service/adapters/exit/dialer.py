"""Guarded connections: names are resolved here, and every address is judged twice.

A check in the resolver alone is not enough, since IP literals are never resolved. A check at the dial alone would let
through a name with one public and one private address. So the resolver refuses a name if any of its addresses is
forbidden, and every socket is judged again by the address it dials, whatever DNS answered meanwhile.
"""

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Final

from aiohappyeyeballs import AddrInfoType
from aiohttp import ClientConnectorError
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import AsyncResolver

from service.core.endpoints.target_policy import ADDRESS_REFUSED, EgressPolicy, Verdict

LOOKUP_SECONDS_MAX: Final = 3.0
_LOOKUP_TRY_SECONDS: Final = 1.0  # c-ares doubles it for the second try: 3 s in all
_LOOKUP_TRIES: Final = 2
POSITIVE_TTL_SECONDS: Final = 30.0
NEGATIVE_TTL_SECONDS: Final = 10.0
CACHED_NAMES_MAX: Final = 10_000


class DestinationBlockedError(OSError):
    """The policy forbids this destination. It is an OSError so that every layer treats it as a failed dial.

    Its text is for the customer, the same for every address; ``where`` and ``verdict`` are for the log.
    """

    def __init__(self, where: str, verdict: Verdict | None, sentence: str = ADDRESS_REFUSED) -> None:
        """Store what was refused, and why."""
        super().__init__(sentence)
        self.where = where
        self.verdict = verdict


def blocked_by(error: BaseException) -> DestinationBlockedError | None:
    """The policy's refusal that caused a failed dial, if there is one."""
    cause = error.__cause__ if isinstance(error, ClientConnectorError) else error
    return cause if isinstance(cause, DestinationBlockedError) else None


OpenSocket = Callable[[AddrInfoType], socket.socket]
"""Opens the socket of a dial."""


def socket_factory(policy: EgressPolicy, open_socket: OpenSocket) -> OpenSocket:
    """Judges the final address of each dial before ``open_socket`` opens its socket."""

    def judge(address_info: AddrInfoType) -> socket.socket:
        sockaddr = address_info[4]
        address, port = str(sockaddr[0]), int(sockaddr[1])
        verdict = policy.judge_address(address, port)
        if not verdict.is_allowed:
            raise DestinationBlockedError(f"{address} port {port}", verdict)
        return open_socket(address_info)

    return judge


class GuardedResolver(AbstractResolver):
    """Resolves names without threads, one lookup per name at a time; refuses a name with any forbidden address.

    Answers are cached for 30 s and failures for 10 s; the policy is applied each time. /etc/hosts is used.
    ``localhost`` always resolves to ::1 and 127.0.0.1 (RFC 6761), so it works only if both are allowed.
    """

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        resolver: AbstractResolver | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Needs a running event loop unless ``resolver`` is given."""
        self._policy = policy
        self._resolver = resolver or AsyncResolver(timeout=_LOOKUP_TRY_SECONDS, tries=_LOOKUP_TRIES)
        self._monotonic = monotonic
        self._kept: dict[str, tuple[float, tuple[str, ...], str]] = {}  # name: good until, addresses, complaint
        self._lookups: dict[str, asyncio.Task[tuple[tuple[str, ...], str]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Every address of ``host``. Raises DestinationBlockedError, or OSError if DNS finds none within 3 s."""
        del family  # all addresses are judged, so all are looked up
        addresses = await self.addresses(host)
        for address in addresses:
            verdict = self._policy.judge_address(address, port)
            if not verdict.is_allowed:
                raise DestinationBlockedError(f"{address} port {port}", verdict)
        return [_result(host, address, port) for address in addresses]

    async def addresses(self, host: str) -> tuple[str, ...]:
        """Every address of ``host``, not judged. Raises OSError if DNS finds none within 3 s."""
        name = host.lower()
        good_until, addresses, complaint = self._kept.get(name, (0.0, (), ""))
        if good_until <= self._monotonic():
            addresses, complaint = await self._look_up_once(name)
        if complaint:
            raise OSError(None, complaint)
        return addresses

    async def close(self) -> None:
        """Cancel the lookups in progress and close the sockets."""
        for lookup in self._lookups.values():
            lookup.cancel()
        await asyncio.gather(*self._lookups.values(), return_exceptions=True)
        await self._resolver.close()

    async def _look_up_once(self, name: str) -> tuple[tuple[str, ...], str]:
        lookup = self._lookups.get(name)
        if lookup is None:
            lookup = self._lookups[name] = asyncio.create_task(self._look_up(name))
            lookup.add_done_callback(lambda _: self._lookups.pop(name, None))
        return await asyncio.shield(lookup)  # if the first caller is cancelled, the others still need the answer

    async def _look_up(self, name: str) -> tuple[tuple[str, ...], str]:
        addresses: tuple[str, ...] = ()
        complaint = ""
        try:
            async with asyncio.timeout(LOOKUP_SECONDS_MAX):
                answers = await self._resolver.resolve(name, 0, socket.AF_UNSPEC)
            addresses = tuple(answer["host"] for answer in answers)
            complaint = "" if addresses else "the name has no address"
        except TimeoutError:
            complaint = f"DNS did not answer within {LOOKUP_SECONDS_MAX:g} s"
        except OSError as error:
            complaint = error.strerror or "the name was not found"
        if len(self._kept) >= CACHED_NAMES_MAX:
            self._kept.pop(next(iter(self._kept)))  # the oldest
        ttl_seconds = NEGATIVE_TTL_SECONDS if complaint else POSITIVE_TTL_SECONDS
        self._kept.pop(name, None)  # so that a refreshed name becomes the newest entry
        self._kept[name] = (self._monotonic() + ttl_seconds, addresses, complaint)
        return addresses, complaint


def _result(name: str, address: str, port: int) -> ResolveResult:
    return ResolveResult(
        hostname=name,
        host=address,
        port=port,
        family=socket.AF_INET6 if ":" in address else socket.AF_INET,
        proto=0,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )
