"""The pages of endpoints."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from service.web.page import Page
from service.web.pages.endpoints.add import add, show_add
from service.web.pages.endpoints.changes import (
    follow_test,
    pause,
    remove,
    resume,
    save,
    send_test,
    show_history,
    show_remove,
)
from service.web.pages.endpoints.checked import check
from service.web.pages.endpoints.list import export_list, show_list
from service.web.pages.endpoints.recover import recover, show_recover
from service.web.pages.endpoints.rehearse import SECONDS_MAX, rehearse, show_rehearse
from service.web.pages.endpoints.secret import end_overlap, replace, show_end_overlap, show_replace
from service.web.pages.endpoints.show import show_health

_ONE: Final = "/endpoints/{id}"
_page: Final = partial(Page, section="endpoints")


def endpoint_pages() -> Sequence[Page]:
    """The pages of endpoints. Those with a name of their own come before those with an id."""
    return (
        _page("GET", "/endpoints", show_list),
        _page("GET", "/endpoints/export", export_list),
        _page("GET", "/endpoints/new", show_add, scope="write"),
        _page("POST", "/endpoints/new", add),
        _page("POST", "/endpoints/check/{part}", check),
        _page("GET", _ONE, show_health),
        _page("POST", _ONE, save),
        _page("POST", f"{_ONE}/pause", pause),
        _page("POST", f"{_ONE}/resume", resume),
        _page("POST", f"{_ONE}/test", send_test),
        _page("GET", f"{_ONE}/test", follow_test),
        _page("GET", f"{_ONE}/replace-secret", show_replace, scope="write"),
        _page("POST", f"{_ONE}/replace-secret", replace),
        _page("GET", f"{_ONE}/end-overlap", show_end_overlap, scope="write"),
        _page("POST", f"{_ONE}/end-overlap", end_overlap),
        _page("GET", f"{_ONE}/remove", show_remove, scope="write"),
        _page("POST", f"{_ONE}/remove", remove),
        _page("GET", f"{_ONE}/recover", show_recover, scope="write"),
        _page("POST", f"{_ONE}/recover", recover),
        _page("GET", f"{_ONE}/rehearse", show_rehearse, scope="write"),
        _page("POST", f"{_ONE}/rehearse", rehearse, seconds_max=SECONDS_MAX),
        _page("GET", f"{_ONE}/history", show_history),
    )
