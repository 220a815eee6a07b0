"""What an answer depends on beside its URL, for caches: the ``Vary`` header."""

from aiohttp import web


def add_vary(response: web.StreamResponse, *names: str) -> None:
    """Add request headers to the response's ``Vary``, each once."""
    named = [each.strip() for each in response.headers.get("Vary", "").split(",") if each.strip()]
    known = {each.lower() for each in named}
    response.headers["Vary"] = ", ".join([*named, *(each for each in names if each.lower() not in known)])
