"""A target URL in its three forms: whole, masked and as it is stored. Its query often carries a token.

Masked, for lists, logs and the audit log, it is ``https://a.example/hook?***``. As it is stored, it has a digest under
a key of its organization instead of its query, ``https://a.example/hook?#…``, and the whole URL is sealed beside it.
The same URL has the same digest, so it is found and cannot be there twice. Without the key nobody can try out short
queries. As no URL may have a fragment, the form cannot be taken for a URL, and no release sends anything to it.
"""

import hmac
from base64 import urlsafe_b64encode
from typing import Final

SEALED_URL_ID: Final = "url"
"""The id under which an endpoint's URL is sealed, where a secret has its own id."""
SEALED_URL_KEY_ID: Final = "url-key"
"""The id under which the key of an organization's digests is sealed."""
URL_KEY_BYTES: Final = 32

_MASK: Final = "***"
_DIGEST: Final = "?#"


def has_query(url: str) -> bool:
    """Whether there is something to hide."""
    return bool(url.partition("?")[2])


def masked_url(url: str) -> str:
    """The URL, whole or as stored, without its query: names in a query may be tokens as well as values."""
    head, mark, query = url.partition("?")
    return head + mark + _MASK if query else url


def is_masked(url: str) -> bool:
    """Whether it stands for a URL whose query is not shown. No endpoint has such a URL."""
    return url.partition("?")[2] == _MASK


def stored_url(url: str, key: bytes) -> str:
    """The form to store; a URL without a query stays as it is."""
    head, _, query = url.partition("?")
    if not query:
        return url
    digest = hmac.digest(key, url.encode(), "sha256")
    return head + _DIGEST + urlsafe_b64encode(digest).rstrip(b"=").decode()


def is_sealed(stored: str) -> bool:
    """Whether a URL as stored has a digest, so that the whole one is sealed beside it."""
    return _DIGEST in stored
