"""What a developer may send to, which a service would refuse: this machine and the networks around it."""

from typing import Final

from service.cli.terminal import BAD_USAGE, CommandError
from service.core.endpoints.target_policy import EgressPolicy, TargetRefused, parse_cidr_rule

_OWN_NETWORKS: Final = (
    *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"),
    *("::1/128", "fc00::/7"),
)
OWN_MACHINE: Final = EgressPolicy(allow=tuple(map(parse_cidr_rule, _OWN_NETWORKS)), allow_http=True)


def require_allowed(url: str, named: str) -> None:
    """Raise ``CommandError`` for a URL that nothing may be sent to; ``named`` is what gave it."""
    judged = OWN_MACHINE.judge_url(url)
    if isinstance(judged, TargetRefused):
        raise CommandError(f"{named}: {judged.sentence}", BAD_USAGE)
