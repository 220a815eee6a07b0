"""Adding and removing subscribers: bodies in every form, every refusal, and what it does to endpoints and deliveries."""

import asyncio
import gzip
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import pytest
from aiohttp import FormData

from service.api.v2 import PREFIX
from service.core.events.registry import BUILT_IN
from tests.api.v2.surface_rig import RESTHOOKS, SECRET, SUBSCRIBERS, TARGET, Surface
from tests.fakes.events import new_uid

pytestmark = pytest.mark.clock

BODY = {"resthook": "message.sent", "target_url": TARGET}
REQUIRED = ["This field is required."]
BLANK = ["This field may not be blank."]
NULL = ["This field may not be null."]
NOT_TEXT = ["Not a valid string."]
BAD_URL = ["Enter a valid URL."]
NULLS = ["Null characters are not allowed."]
ONE_OBJECT = {"non_field_errors": ["Request body should be a single JSON object"]}
LONG = f"https://hooks.example.com/{'a' * 2022}"

DEEP = b"[" * 60_000
NOT_UTF8 = ("punycode", "idna", "utf-7", "utf-16", "unicode_escape", "rot13", "hex", "latin-1", "cp949", "none")
NESTED = b"".join(
    b"--b%b\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (b"%d" % n if n else b"", n + 1)
    for n in range(1_000)
)


def _part(value: bytes, header: bytes = b"") -> bytes:
    return b"--b\r\nContent-Disposition: form-data; name=a\r\n%b\r\n%b\r\n" % (header, value)


CANNOT_BE: Sequence[tuple[Any, Mapping[str, Any]]] = [
    ({}, {"resthook": REQUIRED, "target_url": REQUIRED}),
    ({"resthook": None, "target_url": None}, {"resthook": NULL, "target_url": NULL}),
    ({"resthook": "", "target_url": " \t"}, {"resthook": BLANK, "target_url": BLANK}),
    (BODY | {"resthook": "none"}, {"resthook": ["No resthook with slug: none"]}),
    (BODY | {"resthook": "Message.Sent"}, {"resthook": ["No resthook with slug: Message.Sent"]}),
    (BODY | {"resthook": "*"}, {"resthook": ["No resthook with slug: *"]}),
    (BODY | {"resthook": "message.*"}, {"resthook": ["No resthook with slug: message.*"]}),
    (BODY | {"resthook": "other.paid"}, {"resthook": ["No resthook with slug: other.paid"]}),
    (BODY | {"resthook": 12}, {"resthook": ["No resthook with slug: 12"]}),
    (BODY | {"resthook": 1.5}, {"resthook": ["No resthook with slug: 1.5"]}),
    (BODY | {"resthook": True}, {"resthook": NOT_TEXT}),
    (BODY | {"resthook": ["message.sent"]}, {"resthook": NOT_TEXT}),
    (BODY | {"resthook": {}}, {"resthook": NOT_TEXT}),
    (BODY | {"resthook": "message.sent\0"}, {"resthook": NULLS}),
    (BODY | {"resthook": "\ud800"}, {"resthook": NULLS}),
    (BODY | {"target_url": "nowhere"}, {"target_url": BAD_URL}),
    (BODY | {"target_url": "https://"}, {"target_url": BAD_URL}),
    (BODY | {"target_url": "https:// hooks.example.com"}, {"target_url": BAD_URL}),
    (BODY | {"target_url": "https://hooks.example.com/a b"}, {"target_url": BAD_URL}),
    (BODY | {"target_url": "//hooks.example.com/"}, {"target_url": BAD_URL}),
    (BODY | {"target_url": "javascript:alert(1)"}, {"target_url": BAD_URL}),
    (BODY | {"target_url": 12}, {"target_url": BAD_URL}),
    (BODY | {"target_url": True}, {"target_url": BAD_URL}),
    (BODY | {"target_url": [TARGET]}, {"target_url": BAD_URL}),
    (BODY | {"target_url": {"url": TARGET}}, {"target_url": BAD_URL}),
    (BODY | {"target_url": f"{TARGET}\0"}, {"target_url": BAD_URL}),
    (BODY | {"target_url": f"{TARGET}\ud800"}, {"target_url": BAD_URL}),
    (BODY | {"target_url": LONG + "a"}, {"target_url": ["Ensure this field has no more than 2048 characters."]}),
    (BODY | {"target_url": "http://hooks.example.com/"}, {"target_url": ["the URL must start with https://"]}),
    (BODY | {"target_url": "ftp://hooks.example.com/"}, {"target_url": ["the URL must start with https://"]}),
    (BODY | {"target_url": "https://169.254.169.254/"}, {"target_url": ["this address is not allowed"]}),
    (BODY | {"target_url": "https://[::1]/"}, {"target_url": ["this address is not allowed"]}),
    (BODY | {"target_url": "https://localhost:5432/"}, {"target_url": ["port 5432 is not allowed"]}),
    (
        BODY | {"target_url": "https://u:p@hooks.example.com/"},
        {"target_url": ["the URL must not contain a user name or password"]},
    ),
    (BODY | {"secret": None}, {"secret": NULL}),
    (BODY | {"secret": ""}, {"secret": BLANK}),
    (BODY | {"secret": {}}, {"secret": NOT_TEXT}),
    (BODY | {"secret": "hunter2"}, {"secret": ["a secret must be text that starts with whsec_"]}),
    (BODY | {"secret": "whsec_c2hvcnQ="}, {"secret": ["a key must have 24 to 64 bytes, not 5"]}),
    (
        {"resthook": "none", "target_url": "x", "secret": "y"},
        {
            "resthook": ["No resthook with slug: none"],
            "target_url": BAD_URL,
            "secret": ["a secret must be text that starts with whsec_"],
        },
    ),
    ([], ONE_OBJECT),
    ([BODY], ONE_OBJECT),
    ("text", ONE_OBJECT),
    (12, ONE_OBJECT),
    (None, ONE_OBJECT),
]


async def test_what_cannot_be(surface: Surface) -> None:
    await surface.add_type("other.paid", "org_2")
    headers = surface.headers(**{"Content-Type": "application/json"})
    for body, errors in CANNOT_BE:
        data = json.dumps(body).encode()
        assert await surface.call("POST", SUBSCRIBERS, data=data, headers=headers) == (400, errors), body
    assert (await surface.call("GET", SUBSCRIBERS))[1]["results"] == []


UNREADABLE: Sequence[tuple[str, bytes, int, str]] = [
    ("application/json", b"{", 400, "JSON parse error - "),
    ("application/json", b"\xff", 400, "JSON parse error - "),
    (
        "application/json",
        b'{"a": NaN}',
        400,
        "JSON parse error - Out of range float values are not JSON compliant: NaN",
    ),
    ("application/json", b'{"a": 1, "a": 2}', 400, "JSON parse error - the key 'a' appears twice"),
    ("application/json", DEEP, 400, "JSON parse error - nested too deeply"),
    ("application/json", b"[" + b"1" * 5_000 + b"]", 400, "JSON parse error - "),
    ("application/json; charset=utf-8", b"{]", 400, "JSON parse error - "),
    ("multipart/form-data", b"x", 400, "Multipart form parse error - "),
    ("multipart/form-data; boundary=b", b"nothing", 400, "Multipart form parse error - "),
    (
        "multipart/form-data; boundary=b",
        b"--b\r\nno header\r\n\r\n1\r\n--b--",
        400,
        "Multipart form parse error - ",
    ),
    ("multipart/form-data; boundary=b", _part(b"x") * 101 + b"--b--", 400, "Multipart form parse error - "),
    ("multipart/form-data; boundary=b", _part(b"\xff") + b"--b--", 400, "Multipart form parse error - "),
    (
        "multipart/form-data; boundary=b",
        _part(b"x", b"Content-Transfer-Encoding: x\r\n") + b"--b--",
        400,
        "Multipart form parse error - ",
    ),
    ("multipart/form-data; boundary=b", NESTED, 400, "Multipart form parse error - "),
    ("application/x-www-form-urlencoded", b"\xff=1", 400, "Form parse error - "),
    ("application/x-www-form-urlencoded", b"a=1&" * 200, 400, "Form parse error - "),
    ("text/plain", b"resthook=message.sent", 415, 'Unsupported media type "text/plain" in request.'),
    ("application/xml", b"<a/>", 415, 'Unsupported media type "application/xml" in request.'),
    ("application/json", b" " * 70_000, 413, "the request body exceeds the limit of 65536 bytes"),
]


async def test_bodies_that_cannot_be_read(surface: Surface) -> None:
    for content_type, data, status, expected in UNREADABLE:
        headers = surface.headers(**{"Content-Type": content_type})
        found, body = await surface.call("POST", SUBSCRIBERS, data=data, headers=headers)
        assert (found, list(body)) == (status, ["detail"]), (content_type, data[:80])
        assert body["detail"].startswith(expected)


def _fields(charset: str) -> bytes:
    """The fields of a subscriber as parts in this charset."""
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\nContent-Type: text/plain{charset}\r\n\r\n{value}\r\n'
        for name, value in BODY.items()
    ]
    return "".join(parts).encode() + b"--b--"


def _by_default(charset: str) -> bytes:
    """The same with a part that names the charset of those that follow."""
    return b"--b\r\nContent-Disposition: form-data; name=_charset_\r\n\r\n%b\r\n" % charset.encode() + _fields("")


@pytest.mark.parametrize("charset", NOT_UTF8)
async def test_a_body_is_utf8_or_refused(surface: Surface, charset: str) -> None:
    quoted = f'; charset="{charset}"'
    bodies = [
        (f"application/json{quoted}", json.dumps(BODY).encode(), "JSON parse error - the charset must be utf-8"),
        (f"application/x-www-form-urlencoded{quoted}", b"resthook=a", "Form parse error - the charset must be utf-8"),
        (f"multipart/form-data; boundary=b{quoted}", _fields(""), "Multipart form parse error - "),
        ("multipart/form-data; boundary=b", _fields(quoted), "Multipart form parse error - "),
        ("multipart/form-data; boundary=b", _by_default(charset), "Multipart form parse error - "),
    ]
    for content_type, data, expected in bodies:
        headers = surface.headers(**{"Content-Type": content_type})
        status, body = await surface.call("POST", SUBSCRIBERS, data=data, headers=headers)
        assert (status, list(body)) == (400, ["detail"]), (content_type, data)
        assert body["detail"].startswith(expected)


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", "utf8", "us-ascii", ""])
async def test_a_body_may_say_that_it_is_utf8(surface: Surface, charset: str) -> None:
    named = f"; charset={charset}"
    bodies = [
        (f"application/json{named}", json.dumps(BODY).encode()),
        (f"application/x-www-form-urlencoded{named}", urlencode(BODY).encode()),
        (f"multipart/form-data; boundary=b{named}", _fields("")),
        ("multipart/form-data; boundary=b", _fields(named)),
    ]
    for content_type, data in bodies:
        headers = surface.headers(**{"Content-Type": content_type})
        status, row = await surface.call("POST", SUBSCRIBERS, data=data, headers=headers)
        assert (status, row.get("target_url")) == (201, TARGET), (content_type, row)
        await surface.call("DELETE", f"{PREFIX}/resthook_subscribers/{row['id']}", headers=surface.headers())


async def test_an_empty_body_is_an_empty_object(surface: Surface) -> None:
    for content_type in ("application/json", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain"):
        headers = surface.headers(**{"Content-Type": content_type})
        expected = (400, {"resthook": REQUIRED, "target_url": REQUIRED})
        assert await surface.call("POST", SUBSCRIBERS, data=b"", headers=headers) == expected, content_type


@pytest.mark.parametrize("suffix", ["", ".json", ".json/"])
async def test_every_form_of_body_and_path(surface: Surface, suffix: str) -> None:
    path = f"{PREFIX}/resthook_subscribers{suffix}"
    multipart = FormData({**BODY, "resthook": "message.failed"}, default_to_multipart=True)
    multipart.add_field("upload", b"\xff\x00", filename="a.bin")
    spaced = {"resthook": "  link.clicked ", "target_url": f"\n{TARGET} ", "unknown": {"a": [1]}}
    made = [
        await surface.call("POST", path, json=spaced, headers=surface.headers()),
        await surface.call("POST", path, data=BODY, headers=surface.headers()),
        await surface.call("POST", path, data=multipart, headers=surface.headers()),
    ]
    assert [status for status, _ in made] == [201, 201, 201]
    assert [row["resthook"] for _, row in made] == ["link.clicked", "message.sent", "message.failed"]
    assert {row["target_url"] for _, row in made} == {TARGET}
    assert [list(row) for _, row in made] == [
        ["id", "resthook", "target_url", "created_on", "secret"],
        ["id", "resthook", "target_url", "created_on"],
        ["id", "resthook", "target_url", "created_on"],
    ]
    for _, row in made:
        assert await surface.call("DELETE", f"{path}?id={row['id']}") == (204, None)
    assert (await surface.call("GET", SUBSCRIBERS))[1]["results"] == []


async def test_a_compressed_body(surface: Surface) -> None:
    headers = surface.headers(**{"Content-Type": "application/json", "Content-Encoding": "gzip"})
    data = gzip.compress(json.dumps(BODY).encode())
    assert (await surface.call("POST", SUBSCRIBERS, data=data, headers=headers))[0] == 201
    assert (await surface.call("POST", SUBSCRIBERS, data=b"no gzip", headers=headers))[0] == 400


async def test_a_url_of_2048_characters(surface: Surface) -> None:
    assert (await surface.subscribe(url=LONG))["target_url"] == LONG


async def test_a_post_with_an_id_updates_nothing(surface: Surface) -> None:
    made = await surface.subscribe()
    for query in (f"id={made['id']}", "id=0", "id="):
        status, body = await surface.call("POST", f"{SUBSCRIBERS}?{query}", json=BODY)
        assert (status, list(body)) == (400, ["detail"])


async def test_an_own_type_can_be_subscribed_to_by_its_own_organization(surface: Surface) -> None:
    await surface.add_type("acme.paid")
    assert (await surface.subscribe("acme.paid"))["resthook"] == "acme.paid"


async def test_one_endpoint_and_one_secret_for_a_url(surface: Surface) -> None:
    first = await surface.subscribe("message.sent", secret=SECRET)
    assert first["secret"] == SECRET
    assert "secret" not in await surface.subscribe("message.failed")
    assert "secret" not in await surface.subscribe("link.clicked", secret=SECRET)
    other = SECRET[:-2] + "AA"
    body = {"resthook": "message.replied", "target_url": TARGET, "secret": other}
    expected = {"secret": ["This URL already has an endpoint, which signs with another secret."]}
    assert await surface.call("POST", SUBSCRIBERS, json=body) == (400, expected)
    assert await surface.sql("SELECT count(*) FROM subscriptions") == 3
    assert await surface.sql("SELECT count(*) FROM endpoints") == 1
    assert await surface.sql("SELECT sealed FROM endpoint_secrets WHERE sealed LIKE '%' || $1", SECRET)
    assert (await surface.subscribe(url=f"{TARGET}/b"))["secret"].startswith("whsec_")


async def test_v1_and_v2_see_one_endpoint(surface: Surface) -> None:
    made = await surface.administration.add_endpoint("org_1", TARGET, ["*", "message.sent"])
    duplicate = {"non_field_errors": ["URL is already subscribed to this event."]}
    assert await surface.call("POST", SUBSCRIBERS, json=BODY) == (400, duplicate)
    assert "secret" not in await surface.subscribe("message.failed")  # `*` covers it, and is another subscription
    assert await surface.sql("SELECT array_agg(DISTINCT endpoint_id) FROM subscriptions") == [made.id]


async def test_a_paused_endpoint_stays_paused(surface: Surface) -> None:
    made = await surface.administration.add_endpoint("org_1", TARGET, ["message.sent"])
    await surface.administration.pause_endpoint("org_1", made.id, True)  # noqa: FBT003
    await surface.subscribe("message.failed")
    assert await surface.sql("SELECT is_paused FROM endpoints") is True


async def test_a_refused_subscription_changes_nothing(surface: Surface) -> None:
    await surface.subscribe()
    version = "SELECT directory_version FROM organizations WHERE id = 'org_1'"
    before = await surface.sql(version)
    assert (await surface.call("POST", SUBSCRIBERS, json=BODY))[0] == 400
    assert await surface.sql(version) == before
    await surface.subscribe("message.failed")
    assert await surface.sql(version) == before + 1


async def test_of_many_at_once_one_subscribes(surface: Surface) -> None:
    results = await asyncio.gather(*(surface.call("POST", SUBSCRIBERS, json=BODY) for _ in range(6)))
    assert sorted(status for status, _ in results) == [201, 400, 400, 400, 400, 400]
    assert await surface.sql("SELECT count(*) FROM endpoints") == 1


async def test_removal_cancels_what_waits_and_ends_the_endpoint_with_the_last(surface: Surface) -> None:
    one, two = await surface.subscribe(), await surface.subscribe("message.failed")
    await surface.sql(
        """INSERT INTO open_deliveries (event_uid, subscription_id, organization_id, endpoint_id, event_id, event_type,
                                        state, claims_made)
           SELECT $1, id, organization_id, endpoint_id, 'evt_1', event_type, 'pending', 0 FROM subscriptions""",
        new_uid(),
    )
    assert await surface.call("DELETE", f"{SUBSCRIBERS}?id={one['id']}") == (204, None)
    assert await surface.sql("SELECT array_agg(subscription_id) FROM open_deliveries") == [two["id"]]
    assert await surface.sql("SELECT reason FROM final_deliveries") == "subscription_deleted"
    assert await surface.sql("SELECT count(*) FROM endpoints WHERE removed_at IS NULL") == 1
    assert await surface.call("DELETE", f"{SUBSCRIBERS}?id={two['id']}") == (204, None)
    assert await surface.sql("SELECT count(*) FROM endpoints WHERE removed_at IS NULL") == 0
    assert "secret" in await surface.subscribe()  # a new endpoint, with a new secret


NO_MATCH = (404, {"detail": "No ResthookSubscriber matches the given query."})
NOT_AN_INTEGER = (400, {"detail": "Value for id must be an integer"})


async def test_what_cannot_be_removed(surface: Surface) -> None:
    made = await surface.subscribe()
    theirs = surface.headers(surface.other_key)
    no_id = (400, {"detail": "URL must contain one of the following parameters: id"})
    assert await surface.call("DELETE", SUBSCRIBERS) == no_id
    assert await surface.call("DELETE", f"{SUBSCRIBERS}?resthook=message.sent") == no_id
    for text in ("", "x", "1.5", "%00"):
        assert (await surface.call("DELETE", f"{SUBSCRIBERS}?id={text}"))[0] == 400
    assert await surface.call("DELETE", f"{SUBSCRIBERS}?id=x") == NOT_AN_INTEGER
    assert await surface.call("DELETE", f"{SUBSCRIBERS}?id=") == NOT_AN_INTEGER
    for number in (0, -1, 2**63 - 1, 2**63, 10**100):
        assert await surface.call("DELETE", f"{SUBSCRIBERS}?id={number}") == NO_MATCH
    assert await surface.call("DELETE", f"{SUBSCRIBERS}?id={made['id']}", headers=theirs) == NO_MATCH
    assert await surface.call("DELETE", f"{PREFIX}/resthook_subscribers/{made['id']}.json", headers=theirs) == NO_MATCH
    assert await surface.call("DELETE", f"{SUBSCRIBERS}?id={made['id']}") == (204, None)
    assert await surface.call("DELETE", f"{SUBSCRIBERS}?id={made['id']}") == NO_MATCH


@pytest.mark.parametrize("suffix", ["", ".json", ".json/"])
async def test_removal_by_path(surface: Surface, suffix: str) -> None:
    made = await surface.subscribe()
    path = f"{PREFIX}/resthook_subscribers/{made['id']}{suffix}"
    assert await surface.call("DELETE", path) == (204, None)
    assert await surface.call("DELETE", path) == NO_MATCH
    assert await surface.call("DELETE", f"{PREFIX}/resthook_subscribers/{10**30}{suffix}") == NO_MATCH


async def test_an_idempotency_key(surface: Surface) -> None:
    headers = surface.headers(**{"Idempotency-Key": "one"})
    status, first = await surface.call("POST", SUBSCRIBERS, json=BODY, headers=headers)
    assert status == 201
    async with surface.client.post(SUBSCRIBERS, json=BODY, headers=headers) as response:
        assert (response.status, await response.json()) == (201, first)
        assert response.headers["Idempotency-Replayed"] == "true"
        assert response.content_type == "application/json"
    other = BODY | {"resthook": "message.failed"}
    status, body = await surface.call("POST", SUBSCRIBERS, json=other, headers=headers)
    assert (status, list(body)) == (400, ["detail"])
    assert (await surface.call("POST", SUBSCRIBERS, json=BODY, headers=surface.headers(**{"Idempotency-Key": "\xe9"})))[
        0
    ] == 400
    refused = surface.headers(**{"Idempotency-Key": "two"})
    bad = await surface.call("POST", SUBSCRIBERS, json={}, headers=refused)
    assert bad == await surface.call("POST", SUBSCRIBERS, json={}, headers=refused)
    assert bad == (400, {"resthook": REQUIRED, "target_url": REQUIRED})
    removal = surface.headers(**{"Idempotency-Key": "three"})
    for _ in range(2):
        assert await surface.call("DELETE", f"{SUBSCRIBERS}?id={first['id']}", headers=removal) == (204, None)
    assert len((await surface.call("GET", RESTHOOKS))[1]["results"]) == len(BUILT_IN)
