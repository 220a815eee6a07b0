"""Receivers that close the connection after each reply, over TLS, beside receivers that keep it.

Each way gets the same number of events from a full queue, one after the other, on the same worker.
"""

import argparse
import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench.limits.arrivals import Arrivals
from bench.limits.receiver import ADDRESS
from bench.limits.stage import Stage
from bench.limits.tenants import Organization
from bench.limits.traffic import Stream
from bench.limits.worker import Worker

WARM_UP_FIRST, STEP = 90_000_000, 10_000_000


def add_options(parser: argparse.ArgumentParser) -> None:
    """What may be chosen."""
    parser.add_argument("--events", type=int, default=10_000, help="of each way")
    parser.add_argument("--endpoints", type=int, default=50, help="of each way")


async def measure(stage: Stage, options: argparse.Namespace) -> dict[str, Any]:
    """Plain and kept, plain and closed, TLS and kept, TLS and closed."""
    certificate, key = write_certificate(stage.directory)
    secure = await stage.start_receiver(str(certificate), str(key))
    ways = {"plain": (stage.receiver, "ok"), "plain_closing": (stage.receiver, "close")}
    ways |= {"tls": (secure, "ok"), "tls_closing": (secure, "close")}
    for way, (receiver, behaviour) in ways.items():
        urls = {f"org_{way}_{number}": receiver.url(behaviour, f"{number}") for number in range(options.endpoints)}
        await stage.add([Organization(name, [url]) for name, url in urls.items()])
    worker = await stage.start_worker(environ={"POSTHORN_EXTRA_CA_FILE": str(certificate)})
    found = {}
    for index, (way, (receiver, _)) in enumerate(ways.items(), start=1):
        names = [f"org_{way}_{number}" for number in range(options.endpoints)]
        warm_up = Stream(WARM_UP_FIRST + index * 100_000, options.endpoints, names)
        await (await stage.publish(warm_up)).sent()
        await receiver.until(warm_up.numbers, stage.patience_seconds)
        found[way] = await _pass(stage, worker, receiver, Stream(index * STEP, options.events, names))
    return {**found, "attempts_by_reason": await stage.attempts_by_reason(), **await worker.state([])}


async def _pass(stage: Stage, worker: Worker, receiver: Arrivals, stream: Stream) -> dict[str, Any]:
    cpu_seconds = worker.cpu_seconds()
    await (await stage.publish(stream)).sent()
    await receiver.until(stream.numbers, stage.patience_seconds)
    used = worker.cpu_seconds() - cpu_seconds
    at = sorted(receiver.by_number[number][0] for number in stream.numbers if number in receiver.by_number)
    return {
        "deliveries": len(at),
        "missing": stream.count - len(at),
        "deliveries_per_second": round(len(at) / ((at[-1] - at[0]) / 1e9), 1),
        "worker_cpu_us_per_delivery": round(used * 1e6 / len(at), 1),
    }


def write_certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate of the receiver's address that is its own authority, and its key; both as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the receiver of a measurement")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address(ADDRESS))
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = directory / "certificate.pem", directory / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return certificate_file, key_file
