"""The receiver's package needs Python and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

RECEIVER = Path(__file__).parents[2] / "receiver"
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from webhook_signature import Webhook
webhook = Webhook(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], now=lambda: 1614265330)
headers = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
print(webhook.verify(b'{"test": 2432232314}', headers).json()["test"])
"""


def test_it_runs_without_any_installed_package() -> None:
    """-I ignores the environment and the current folder, -S leaves site-packages out."""
    command = [sys.executable, "-I", "-S", "-W", "error", "-c", PROGRAM, str(RECEIVER)]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("2432232314\n", "")


KEY_PAIR_PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from webhook_signature import VerificationError, Webhook
try:
    Webhook(["whpk_A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="], style="ed25519")
except VerificationError as error:
    print(error)
"""


def test_a_key_pair_says_what_it_needs() -> None:
    command = [sys.executable, "-I", "-S", "-W", "error", "-c", KEY_PAIR_PROGRAM, str(RECEIVER)]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    sentence = "bad_secret: the style ed25519 needs the package cryptography: pip install cryptography\n"
    assert (done.stdout, done.stderr) == (sentence, "")


def test_it_ships_its_types() -> None:
    assert (RECEIVER / "webhook_signature" / "py.typed").is_file()
