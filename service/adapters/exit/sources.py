"""The host's own addresses that outgoing connections come from, if the operator names them."""

import errno
import socket
import sys
from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import Final

from aiohappyeyeballs import AddrInfoType

# Linux picks the port at the dial then, not at the bind: so an address has its 28,000 ports for each receiver, not for
# all of them together. Python 3.11 has no name for it.
_IP_BIND_ADDRESS_NO_PORT: Final = getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24)


class SourceAddressError(OSError):
    """No connection can be made from where the operator wants it; the text says why. Trying again would not help."""


class SourceAddresses:
    """Opens the sockets of outgoing connections, each bound to the next of these addresses of its family.

    Without addresses the system chooses. With addresses of one family only, the other is not dialled.
    """

    def __init__(self, addresses: Sequence[str] = ()) -> None:
        """Raises SourceAddressError if one of them is not an address of this host."""
        self._is_free = not addresses
        self._next = {
            family: cycle(own) for family, own in _by_family(addresses)
        }  # a worker has one thread, so taking turns needs no lock
        for family, own in _by_family(addresses):
            for address in own:
                _require(family, address)

    def open_socket(self, address_info: AddrInfoType) -> socket.socket:
        """A socket for this dial. Raises SourceAddressError if none of the addresses can be its source."""
        family, kind, protocol, _, _ = address_info
        if self._is_free:
            return socket.socket(family, kind, protocol)
        turns = self._next.get(family)
        if turns is None:
            version = "IPv6" if family == socket.AF_INET6 else "IPv4"
            raise SourceAddressError(errno.EADDRNOTAVAIL, f"this service sends from no {version} address")
        made = socket.socket(family, kind, protocol)
        try:
            if sys.platform == "linux":
                made.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            made.bind((next(turns), 0))
        except BaseException:
            made.close()
            raise
        return made


def _by_family(addresses: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    for family in (socket.AF_INET, socket.AF_INET6):
        own = [each for each in addresses if (":" in each) == (family == socket.AF_INET6)]
        if own:
            yield family, own


def _require(family: int, address: str) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            raise SourceAddressError(error.errno, f"{address} is not an address of this host") from error
