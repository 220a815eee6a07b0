"""What strangers may ask of the database: counted in memory, by address and for all together."""

from collections.abc import Callable
from ipaddress import IPv6Address, ip_address


class Allowance:
    """So many a second, and so many at once after a quiet time."""

    __slots__ = ("_burst_seconds", "_step_seconds", "_used_until")

    def __init__(self, per_second: float, burst: int) -> None:
        self._step_seconds = 1 / per_second
        self._burst_seconds = burst / per_second
        self._used_until = 0.0  # when everything taken so far will have been earned

    def wait_seconds(self, now: float) -> float:
        """In how many seconds there is one to take; 0 or less: now."""
        return self._used_until + self._step_seconds - now - self._burst_seconds

    def take(self, now: float) -> None:
        """Take one, there or not."""
        self._used_until = max(self._used_until, now) + self._step_seconds


class Strangers:
    """Counts look-ups. ``new_allowance`` is that of one address, ``of_all`` that of all; ``now`` is in seconds."""

    def __init__(self, new_allowance: Callable[[], Allowance], of_all: Allowance, *, addresses_max: int) -> None:
        self._new_allowance = new_allowance
        self._of_all = of_all
        self._addresses_max = addresses_max
        self._of_address: dict[str, Allowance] = {}  # the address that asked first comes first

    def wait_seconds(self, remote: str | None, now: float) -> float:
        """In how many seconds the address may ask; 0 or less: now."""
        allowance = self._of_address.get(_address_of(remote))
        return max(self._of_all.wait_seconds(now), allowance.wait_seconds(now) if allowance else 0.0)

    def take(self, remote: str | None, now: float) -> None:
        """Count one look-up. Those that were made at once go into debt."""
        address = _address_of(remote)
        if address not in self._of_address:
            if len(self._of_address) >= self._addresses_max:
                self._of_address.pop(next(iter(self._of_address)))
            self._of_address[address] = self._new_allowance()
        self._of_address[address].take(now)
        self._of_all.take(now)


def _address_of(remote: str | None) -> str:
    """The address whose guesses are counted together; whoever has one IPv6 address has all that share its /64."""
    try:
        address = ip_address((remote or "").partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64))
    return str(address)
