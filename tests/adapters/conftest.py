"""What the tests of several adapters need."""

from pathlib import Path

import pytest

from tests.contract.certificates import write_self_signed


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key."""
    return write_self_signed(tmp_path_factory.mktemp("tls") / "receiver.pem")
