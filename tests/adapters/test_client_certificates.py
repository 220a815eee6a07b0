"""Client certificates: what may be registered, and real TLS servers that require one."""

import asyncio
import datetime as dt
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from msgspec.structs import replace

from service.adapters.exit.certificates import TlsContexts, read_certificate
from service.adapters.exit.sender import HttpSender
from service.adapters.exit.tunnel import read_proxy
from service.core.deliveries.request import Fault, Reply, Request
from service.core.endpoints.auth import AuthRefused, ClientCertificate
from service.core.endpoints.target_policy import EgressPolicy, parse_cidr_rule
from service.core.reason import Reason
from tests.adapters.connect_proxy import ConnectProxy
from tests.adapters.receiver import OK, Receiver

pytestmark = pytest.mark.clock

LOOPBACK = EgressPolicy(allow=(parse_cidr_rule("127.0.0.0/8"), parse_cidr_rule("::1/128")))
PEM = serialization.Encoding.PEM


@dataclass
class Authority:
    """Whom the receivers trust."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def issue(self, name: str, *, key: Any = None, days: int = 10) -> tuple[str, str]:
        """A certificate for this name that is good for so many days, and its key, both in PEM."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        now = dt.datetime.now(dt.UTC)
        built = (
            x509.CertificateBuilder(issuer_name=self.certificate.subject, subject_name=_named(name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=20))
            .not_valid_after(now + dt.timedelta(days=days))
            .sign(self.key, hashes.SHA256())
        )
        return built.public_bytes(PEM).decode(), _pem_of(key)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _pem_of(key: Any, encryption: Any = None) -> str:
    pkcs8 = serialization.PrivateFormat.PKCS8
    pem: bytes = key.private_bytes(PEM, pkcs8, encryption or serialization.NoEncryption())
    return pem.decode()


@pytest.fixture(scope="module")
def authority() -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder(issuer_name=_named("authority"), subject_name=_named("authority"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=30))
        .not_valid_after(now + dt.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Authority(key, built)


def issued(authority: Authority, name: str, **options: Any) -> ClientCertificate:
    found = read_certificate(*authority.issue(name, **options))
    assert isinstance(found, ClientCertificate), found
    return found


class Guarded:
    """A receiver that lets in who shows a certificate of the authority, and notes the names."""

    def __init__(self, certificate: Path, authority: Authority) -> None:
        self.names: list[str] = []
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
        tls.verify_mode = ssl.CERT_REQUIRED
        tls.load_verify_locations(cadata=authority.certificate.public_bytes(PEM).decode())
        self.receiver = Receiver(self._answer, tls=tls)

    async def _answer(self, _: int, writer: asyncio.StreamWriter) -> None:
        self.names.append(writer.get_extra_info("peercert")["subject"][0][0][1])
        writer.write(OK)

    def post(self, endpoint_id: str, auth: ClientCertificate | None) -> Request:
        return replace(self.receiver.post(scheme="https"), endpoint_id=endpoint_id, auth=auth)


async def test_each_endpoint_shows_its_own_certificate_and_keeps_its_connection(
    certificate: Path, authority: Authority
) -> None:
    guarded = Guarded(certificate, authority)
    async with guarded.receiver as receiver, HttpSender(LOOPBACK, extra_ca_file=str(certificate)) as sender:
        one, two = issued(authority, "one"), issued(authority, "two")
        for endpoint_id, auth in (("ep_1", one), ("ep_2", two), ("ep_1", one), ("ep_2", two), ("ep_3", one)):
            reply = await sender.send(guarded.post(endpoint_id, auth))
            assert isinstance(reply, Reply), reply
        assert guarded.names == ["one", "two", "one", "two", "one"]
        assert receiver.accept_count == 3  # one for each endpoint, even where the certificate is the same


async def test_a_renewed_certificate_never_uses_a_connection_of_the_old_one(
    certificate: Path, authority: Authority
) -> None:
    guarded = Guarded(certificate, authority)
    async with guarded.receiver as receiver, HttpSender(LOOPBACK, extra_ca_file=str(certificate)) as sender:
        for name in ("old", "new"):
            assert isinstance(await sender.send(guarded.post("ep_1", issued(authority, name))), Reply)
        assert guarded.names == ["old", "new"]
        assert receiver.accept_count == 2


async def test_who_shows_none_or_a_strangers_is_refused_by_the_receiver(
    certificate: Path, authority: Authority
) -> None:
    guarded = Guarded(certificate, authority)
    key = ec.generate_private_key(ec.SECP256R1())
    stranger = issued(Authority(key, authority.certificate), "stranger")
    async with guarded.receiver as receiver, HttpSender(LOOPBACK, extra_ca_file=str(certificate)) as sender:
        assert isinstance(await sender.send(guarded.post("ep_1", issued(authority, "one"))), Reply)
        for auth in (None, stranger):
            fault = await sender.send(guarded.post("ep_1", auth))
            assert isinstance(fault, Fault)
            assert fault.reason in {Reason.TLS, Reason.CONNECT_RESET}
        assert len(receiver.posts) == 1


async def test_through_a_proxy_the_certificate_is_shown_to_the_receiver(
    certificate: Path, authority: Authority
) -> None:
    guarded = Guarded(certificate, authority)
    async with guarded.receiver, ConnectProxy() as proxy:
        there = read_proxy(f"http://127.0.0.1:{proxy.port}")
        async with HttpSender(LOOPBACK, proxy=there, extra_ca_file=str(certificate)) as sender:
            for endpoint_id, name in (("ep_1", "one"), ("ep_2", "two")):
                assert isinstance(await sender.send(guarded.post(endpoint_id, issued(authority, name))), Reply)
        assert guarded.names == ["one", "two"]
        assert len(proxy.heads) == 2


async def test_the_contexts_that_were_used_last_are_kept(certificate: Path, authority: Authority) -> None:
    guarded = Guarded(certificate, authority)
    auth = issued(authority, "one")
    async with (
        guarded.receiver as receiver,
        HttpSender(LOOPBACK, extra_ca_file=str(certificate), auths_kept_max=2) as sender,
    ):
        for endpoint_id in ("ep_1", "ep_2", "ep_1", "ep_3", "ep_1", "ep_2"):
            assert isinstance(await sender.send(guarded.post(endpoint_id, auth)), Reply)
        assert receiver.accept_count == 4
        assert len(sender._contexts._kept) == 2


async def test_a_certificate_that_cannot_be_loaded_is_our_fault(authority: Authority) -> None:
    broken = ClientCertificate("no certificate", "hunter2", dt.datetime.now(dt.UTC))
    async with Receiver(OK) as receiver, HttpSender(LOOPBACK) as sender:
        fault = await sender.send(replace(receiver.post(scheme="https"), endpoint_id="ep_1", auth=broken))
        assert isinstance(fault, Fault)
        assert (fault.reason, "hunter2" in fault.detail, receiver.accept_count) == (Reason.INTERNAL, False, 0)


async def test_a_context_that_takes_long_is_our_fault_and_ends_with_the_attempt(authority: Authority) -> None:
    may_end = threading.Event()

    def make() -> ssl.SSLContext:
        may_end.wait()
        return ssl.create_default_context()

    async with Receiver(OK) as receiver, HttpSender(LOOPBACK) as sender:
        sender._contexts = TlsContexts(make)
        request = replace(receiver.post(scheme="https"), endpoint_id="ep_1", auth=issued(authority, "one"))
        try:
            fault = await sender.send(replace(request, timeout_seconds=0.2, limit_seconds=0.3))
        finally:
            may_end.set()
        assert isinstance(fault, Fault)
        assert (fault.reason, fault.detail.partition(",")[0], receiver.accept_count) == (
            Reason.INTERNAL,
            "this worker was held up reading the client certificate",
            0,
        )


@pytest.mark.parametrize("key", [ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048)])
def test_the_usual_keys_are_taken_and_the_expiry_is_known(authority: Authority, key: Any) -> None:
    found = issued(authority, "one", key=key)
    assert dt.timedelta(days=9) < found.expires_at - dt.datetime.now(dt.UTC) < dt.timedelta(days=11)


def problem(certificate: str, private_key: str) -> tuple[str, str]:
    refused = read_certificate(certificate, private_key)
    assert isinstance(refused, AuthRefused)
    ((field, why),) = refused.problems.items()
    assert private_key not in why
    return field, why


def test_what_cannot_be_a_certificate_is_told_by_its_field(authority: Authority) -> None:
    certificate, key = authority.issue("one")
    other = authority.issue("two")[1]
    small = rsa.generate_private_key(65537, 1024)  # noqa: S505  it is refused
    password = serialization.BestAvailableEncryption(b"hunter2")
    locked = _pem_of(ec.generate_private_key(ec.SECP256R1()), password)
    for field, part, given in (
        ("certificate", "in PEM", ("hello", key)),
        ("certificate", "in PEM", (key, key)),
        ("certificate", "in PEM", (certificate.replace("A", "!"), key)),
        ("certificate", "at most 10", (certificate * 11, key)),
        ("certificate", "expired at", authority.issue("old", days=-1)),
        ("private_key", "in PEM", (certificate, "hello")),
        ("private_key", "in PEM", (certificate, certificate)),
        ("private_key", "not the key of the certificate", (certificate, other)),
        ("private_key", "password", (certificate, locked)),
        ("private_key", "2048 to 8192", authority.issue("small", key=small)),
        ("private_key", "RSA, EC or Ed25519", (certificate, _pem_of(dsa.generate_private_key(2048)))),
    ):
        found, why = problem(*given)
        assert (found, part in why) == (field, True), why


def test_a_chain_is_taken(authority: Authority) -> None:
    certificate, key = authority.issue("one")
    chain = certificate + authority.certificate.public_bytes(PEM).decode()
    assert isinstance(read_certificate(chain, key), ClientCertificate)
