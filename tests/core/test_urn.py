"""Digits are no telephone number: nobody knows of which country."""

import json
from typing import Any

import pytest

from service.core.events.event import Event, parse_event
from service.core.events.urn import plain_urn, with_plain_urns
from tests.fakes.clock import START
from tests.fakes.events import EXAMPLE_DATA, envelope


@pytest.mark.parametrize(
    ("urn", "plain"),
    [
        ("12065551212", "ext:12065551212"),
        ("tel:12065551212", "ext:12065551212"),
        ("tel:72345", "ext:72345"),
        ("7", "ext:7"),
        *(
            (urn, urn)
            for urn in ("tel:+12065551212", "+12065551212", "ext:12065551212", "mailto:1@b.example", "", "tel:")
        ),
        *((urn, urn) for urn in ("twitter:12", "tel:1-206", "tel:١٢")),
    ],
)
def test_only_digits_change(urn: str, plain: str) -> None:
    assert plain_urn(urn) == plain
    data = json.dumps({"contact": {"urn": urn}}, ensure_ascii=False).encode()
    assert json.loads(with_plain_urns(data)) == {"contact": {"urn": plain}}


def _published(data: object) -> Any:
    event = parse_event(json.dumps(envelope(data=data)).encode(), START)
    assert isinstance(event, Event), event
    return json.loads(event.body)["data"]


def test_wherever_an_event_names_somebody() -> None:
    message = {
        **EXAMPLE_DATA["message.sent"]["message"],
        "from": {"urn": "72345", "name": "us"},
        "to": {"urn": "tel:12065551212"},
        "reactions": [{"type": "up", "from_urn": "1206"}, {"type": "up", "from_urn": None}, {"type": "up"}],
    }
    given = {"message": message, "contact": {"urn": "1206"}, "chat": {"participants": [{"urn": "1"}, 7, {"urn": "x"}]}}
    found = _published({**given, "own": {"urn": "1206"}, "urn": "1206"})
    assert found["message"]["from"] == {"urn": "ext:72345", "name": "us"}
    assert found["message"]["to"]["urn"] == "ext:12065551212"
    assert [each.get("from_urn") for each in found["message"]["reactions"]] == ["ext:1206", None, None]
    assert found["contact"]["urn"] == "ext:1206"
    assert found["chat"]["participants"] == [{"urn": "ext:1"}, 7, {"urn": "x"}]
    assert (found["own"]["urn"], found["urn"]) == ("1206", "1206"), "what is the producer's own is left alone"


def test_all_else_keeps_its_bytes() -> None:
    odd = b'{"z": [ 1 ],"contact": {"n":1e400, "urn" : "1206", "big":9007199254740993,"exact": 1.0,"t":"\\u00e9"}}'
    changed = with_plain_urns(odd)
    assert (
        changed
        == b'{"z":[ 1 ],"contact":{"n":1e400,"urn":"ext:1206","big":9007199254740993,"exact":1.0,"t":"\\u00e9"}}'
    )
    same = b'{"contact": {"urn": "tel:+1206"}, "text": "my urn\\": \\"5"}'
    assert with_plain_urns(same) is same


def test_in_a_list_only_the_urns_of_its_objects_change() -> None:
    others = b'1e400,1.0,[{"urn":"1"}],{"of":{"urn":"1"}},"urn\\":\\"1",{"urn":null},{"urn":"tel:\\u002b1"},null'
    data = b'{"chat":{"participants":[%b,{"urn":"\\u0031"},{"urn":"12","n":1.0}]}}'
    after = b'{"chat":{"participants":[%b,{"urn":"ext:1"},{"urn":"ext:12","n":1.0}]}}'
    assert with_plain_urns(data % others) == after % others


@pytest.mark.parametrize(
    "data", [b'{"contact":[],"urn":"1"}', b'{"contact":null,"x":{"urn":"1"}}', b'{"chat":{"urn":"1"}}']
)
def test_what_is_something_else_is_left_alone(data: bytes) -> None:
    assert with_plain_urns(data) == data
