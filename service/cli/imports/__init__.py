"""``import``: endpoints of other services, shown first and then taken over."""

from service.cli.imports.commands import imports

__all__ = ["imports"]
