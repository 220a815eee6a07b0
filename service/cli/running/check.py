"""What ``doctor`` found out about one thing."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check. ``advice`` says how to fix a failure, or what could be done next."""

    name: str
    ok: bool
    detail: str
    advice: str = ""
