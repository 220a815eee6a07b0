"""Client certificates of endpoints: read when they are registered, and shown to receivers that ask for one."""

import asyncio
import os
import ssl
import sys
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from service.core.endpoints.auth import AuthRefused, ClientCertificate

CHAIN_CERTIFICATES_MAX: Final = 10
RSA_BITS_MIN: Final = 2048
RSA_BITS_MAX: Final = 8192
CONTEXTS_KEPT_MAX: Final = 256
"""Each holds the system's authorities, about a megabyte; an endpoint that is not among the last pays 20 ms again."""

_PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def read_certificate(certificate: str, private_key: str) -> ClientCertificate | AuthRefused:
    """Check that both can be read, belong together, and are valid now."""
    first = _read_first(certificate)
    if isinstance(first, str):
        return AuthRefused({"certificate": first})
    key = _read_key(private_key)
    if isinstance(key, str):
        return AuthRefused({"private_key": key})
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != first.public_key().public_bytes(*form):
        return AuthRefused({"private_key": "is not the key of the certificate"})
    if first.not_valid_after_utc <= datetime.now(UTC):
        return AuthRefused({"certificate": f"expired at {first.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"})
    found = ClientCertificate(certificate, private_key, first.not_valid_after_utc)
    try:
        _present(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), found)
    except ssl.SSLError as error:
        return AuthRefused({"certificate": f"cannot be used with TLS ({error.reason or 'it was refused'})"})
    return found


def _read_first(certificate: str) -> x509.Certificate | str:
    """The first certificate of the chain, or what is wrong with it."""
    try:
        chain = x509.load_pem_x509_certificates(certificate.encode())
        chain[0].public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "must be a certificate in PEM, with its intermediate ones after it"
    return chain[0] if len(chain) <= CHAIN_CERTIFICATES_MAX else f"must have at most {CHAIN_CERTIFICATES_MAX} of them"


def _read_key(private_key: str) -> _PrivateKey | str:
    try:
        # Unchecked: to check a hostile RSA key takes seconds. It only has to have the certificate's public half.
        key = load_pem_private_key(private_key.encode(), password=None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        return "must not be encrypted with a password"
    except (ValueError, UnsupportedAlgorithm):
        return "must be a private key in PEM"
    if not isinstance(key, _PrivateKey):
        return "must be an RSA, EC or Ed25519 key"
    if isinstance(key, rsa.RSAPrivateKey) and not RSA_BITS_MIN <= key.key_size <= RSA_BITS_MAX:
        return f"must have {RSA_BITS_MIN} to {RSA_BITS_MAX} bits"
    return key


class TlsContexts:
    """A TLS context for each endpoint and certificate, those that were used last.

    The pool of connections keeps apart what was dialled with different contexts, so no connection that carries one
    endpoint's certificate is ever used for another endpoint, or for another certificate.
    """

    def __init__(self, make: Callable[[], ssl.SSLContext], *, kept_max: int = CONTEXTS_KEPT_MAX) -> None:
        """``make`` makes a context that verifies receivers; it takes a while, so it is called in a thread.

        ``kept_max`` is at least 1.
        """
        self._make = make
        self._kept_max = kept_max
        self._kept: OrderedDict[tuple[str, ClientCertificate], ssl.SSLContext] = OrderedDict()

    async def of(self, endpoint_id: str, certificate: ClientCertificate) -> ssl.SSLContext:
        """The context that shows this certificate. Raises ssl.SSLError if it cannot be loaded."""
        key = (endpoint_id, certificate)
        if key not in self._kept:
            context = await asyncio.to_thread(self._load, certificate)
            self._kept.setdefault(key, context)  # another may have been quicker: its connections are kept alive
            if len(self._kept) > self._kept_max:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def _load(self, certificate: ClientCertificate) -> ssl.SSLContext:
        context = self._make()
        _present(context, certificate)
        return context


def _present(context: ssl.SSLContext, certificate: ClientCertificate) -> None:
    with _file_of(f"{certificate.private_key}\n{certificate.certificate}\n".encode()) as path:
        context.load_cert_chain(path, password="")  # a password, so that OpenSSL never asks for one at the terminal


@contextmanager
def _file_of(content: bytes) -> Iterator[str]:
    """A file for OpenSSL, which takes nothing else; in memory where the system can, so that no disk has the key."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("client-certificate", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, content)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield file.name
