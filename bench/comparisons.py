"""``python -m bench.comparisons``: whether the time of a refusal tells how much of a forged signature was right.

After dudect (Reparaz, Balasch, Verbauwhede 2017): the same call with inputs of two classes in random order, and Welch's
t-test on the times below a quantile. Above 4.5, "it leaks" is a better explanation than chance. A control, which
compares byte by byte, must be found out; otherwise the machine is too busy for an answer. As that may be, this is no
test of the suite; tests/architecture/test_comparisons.py finds any comparison of a secret that stops at a difference.
"""

import argparse
import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Final

from webhook_signature import VerificationError, Webhook

T_MAX: Final = 4.5
BELOW: Final = 0.9
"""The quantile of times that are kept: those above it were interrupted."""
NOW_SECONDS: Final = 1_700_000_000
WEBHOOK: Final = Webhook(["whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="], now=lambda: NOW_SECONDS)
BODY: Final = b'{"a":1}'
SIGNED: Final = WEBHOOK.sign("msg_a", NOW_SECONDS, BODY)


def headers(signature: str) -> dict[str, str]:
    """The headers of a request that is good but for its signature."""
    return {**SIGNED, "webhook-signature": signature}


def verify(guess: dict[str, str]) -> None:
    """What a receiver does with a forgery."""
    try:
        WEBHOOK.verify(BODY, guess)
    except VerificationError:
        return


def compare_byte_by_byte(guess: dict[str, str]) -> None:
    """The control: stops at the first difference."""
    for right, given in zip(SIGNED["webhook-signature"], guess["webhook-signature"], strict=True):
        if right != given:
            return


def guesses() -> tuple[dict[str, str], dict[str, str]]:
    """One that is wrong from its first byte on, and one that is right but for its last bytes."""
    version, _, right = SIGNED["webhook-signature"].partition(",")
    wrong = "".join("A" if each != "A" else "B" for each in right[:-4])
    return headers(f"{version},{wrong}{right[-4:]}"), headers(f"{version},{right[:-4]}{wrong[-3:]}=")


def t_of(call: Callable[[dict[str, str]], None], count: int) -> float:
    """Welch's t of the two classes' times in ``count`` calls of each, interleaved at random."""
    classes = guesses()
    times: tuple[list[int], list[int]] = ([], [])
    order = [0, 1] * count
    random.shuffle(order)
    for which in order:
        guess = classes[which]
        started = time.perf_counter_ns()
        call(guess)
        times[which].append(time.perf_counter_ns() - started)
    limit = sorted(times[0] + times[1])[int(BELOW * 2 * count)]
    first, second = ([each for each in of if each <= limit] for of in times)
    return abs(_welch(first, second))


def _welch(first: Sequence[int], second: Sequence[int]) -> float:
    spread = statistics.variance(first) / len(first) + statistics.variance(second) / len(second)
    return (statistics.fmean(first) - statistics.fmean(second)) / math.sqrt(spread)


def main() -> None:
    """Measure both, and say what they show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="calls of each class")
    count = parser.parse_args().count
    control, ours = t_of(compare_byte_by_byte, count), t_of(verify, count)
    print(f"byte by byte (control): t = {control:.1f}")
    print(f"Webhook.verify:         t = {ours:.1f}")
    if control <= T_MAX:
        raise SystemExit(
            "Nothing is shown: the control's leak was not found. Try a quieter machine, or a larger --count."
        )
    print("no leak was found" if ours <= T_MAX else "IT LEAKS: the time tells how much of a signature was right")
    raise SystemExit(int(ours > T_MAX))


if __name__ == "__main__":
    main()
