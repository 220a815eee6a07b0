"""Adding an endpoint."""

from collections.abc import Mapping

from service.api.errors import ApiError
from service.web.page import Moved, Result, Shown, Visit
from service.web.pages.endpoints.checked import in_words, look_at
from service.web.pages.endpoints.choices import form_parts
from service.web.pages.endpoints.form import EndpointForm, by_field
from service.web.pages.endpoints.known import is_the_callers
from service.web.pages.endpoints.secret import show_new_secret


async def show_add(visit: Visit) -> Result:
    """The empty form."""
    return await _form(visit, EndpointForm(url=visit.query("url")))


async def add(visit: Visit) -> Result:
    """Create the endpoint, and show its secret once."""
    typed = EndpointForm.of_form(visit.form)
    body, errors = typed.body()
    if errors:
        return await _form(visit, typed, errors, status=400)
    try:
        made = await visit.ask("create_endpoint", body={name: each for name, each in body.items() if each is not None})
    except ApiError as error:
        if not is_the_callers(error):
            raise
        return await _form(visit, typed, by_field(error.errors) or {"": [error.sentence]}, status=error.status)
    if "secret" not in made:  # there is just such an endpoint: the form was sent twice
        return Moved(visit.url(f"/endpoints/{made['id']}"))
    return await show_new_secret(visit, made["id"], made, is_first=True)


async def _form(
    visit: Visit, typed: EndpointForm, errors: Mapping[str, list[str]] | None = None, status: int = 200
) -> Shown:
    checked = in_words(await look_at(visit, {"retry": typed.body()[0]["retry"]}))
    context = {"form": typed, "errors": errors or {}, **await form_parts(visit), **checked}
    return Shown("endpoint-add.html", "Add an endpoint", context, status)
