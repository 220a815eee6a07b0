"""What receivers are given without a key: ``webhook_signature`` as one file, and verifiers for other languages."""

import ast
import hashlib
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Final

from aiohttp import web

import webhook_signature
from service import __version__

VERIFIERS: Final = {
    "verify.mjs": "Node",
    "verify.go": "Go",
    "verify.php": "PHP",
    "verify.rb": "Ruby",
    "WebhookVerifier.java": "Java",
}
"""The files in ``verifiers/``, each with its language."""
MODULES: Final = ("errors", "headers", "replay", "sign", "ed25519", "styles", "verify")
"""The modules of ``webhook_signature``; each imports only those before it."""
FILE: Final = "webhook_signature.py"

_PACKAGE: Final = "webhook_signature"
_TYPES_ONLY: Final = "TYPE_CHECKING"


def verifier(name: str) -> str:
    """The text of one of ``VERIFIERS``."""
    return files("service.api.documents").joinpath("verifiers", name).read_text("utf-8")


@cache
def single_file() -> bytes:
    """``webhook_signature`` as one module that needs Python 3.9 and no package; UTF-8.

    Raises ValueError if two modules define the same name.
    """
    imports: dict[str, set[str]] = defaultdict(set)
    for_types: dict[str, set[str]] = defaultdict(set)
    bodies: list[str] = []
    defined: dict[str, str] = {}
    for module in MODULES:
        text = files(_PACKAGE).joinpath(f"{module}.py").read_text("utf-8")
        tree = ast.parse(text)
        dropped: set[int] = set()
        for number, node in enumerate(tree.body):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                _collect(node, imports)
            elif isinstance(node, ast.If) and ast.unparse(node.test) == _TYPES_ONLY:
                for inner in node.body:
                    _collect(inner, for_types)
            elif number or ast.get_docstring(tree) is None:
                for name in _names_of(node):
                    if defined.setdefault(name, module) != module:
                        raise ValueError(f"{name} is defined in both {defined[name]} and {module}")
                continue
            dropped |= {*range(node.lineno, (node.end_lineno or node.lineno) + 1)}
        kept = [line for number, line in enumerate(text.splitlines(), 1) if number not in dropped]
        bodies.append(f"# {'-' * 20} {module}: {ast.get_docstring(tree)!s:.90}".splitlines()[0])
        bodies.append("\n".join(kept).strip("\n") + "\n\n")
    head = [
        f'"""{webhook_signature.__doc__}"""\n',
        f"# webhook_signature {__version__} of Posthorn, all of the package in one file. Licence: Apache-2.0.\n",
        *_import_lines(imports),
        f"\nif {_TYPES_ONLY}:",
        *(f"    {line}" for line in _import_lines(for_types)),
        f"\n__all__ = {webhook_signature.__all__!r}\n\n",
    ]
    return "\n".join((*head, *bodies)).rstrip("\n").encode() + b"\n"


def _collect(node: ast.stmt, into: dict[str, set[str]]) -> None:
    """Note what is imported, but for our own modules: an ``import x`` as no name of ``x``."""
    if isinstance(node, ast.Import):
        for each in node.names:
            into[each.name].add("")
    elif isinstance(node, ast.ImportFrom) and node.module and not node.module.startswith(_PACKAGE):
        into[node.module] |= {each.name for each in node.names}


def _import_lines(imports: dict[str, set[str]]) -> Iterator[str]:
    for module, names in sorted(imports.items(), key=lambda each: (each[0] != "__future__", each[0])):
        if "" in names:
            yield f"import {module}"
        if wanted := sorted(names - {""}):
            yield f"from {module} import {', '.join(wanted)}"


def _names_of(node: ast.stmt) -> Sequence[str]:
    match node:
        case ast.ClassDef() | ast.FunctionDef():
            return (node.name,)
        case ast.Assign() | ast.AnnAssign():
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            return [each.id for each in targets if isinstance(each, ast.Name)]
        case _:
            return ()


def receiver_routes() -> Sequence[web.RouteDef]:
    """Routes that serve the files, and the SHA-256 of the first as ``sha256sum -c`` reads it."""
    whole = single_file()
    digest = hashlib.sha256(whole)

    async def show_module(_: web.Request) -> web.Response:
        named = {"Repr-Digest": f"sha-256=:{b64encode(digest.digest()).decode()}:"}  # RFC 9530
        return web.Response(body=whole, content_type="text/plain", charset="utf-8", headers=named)

    async def show_digest(_: web.Request) -> web.Response:
        return web.Response(text=f"{digest.hexdigest()}  {FILE}\n")

    async def show_verifier(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in VERIFIERS:
            raise web.HTTPNotFound
        return web.Response(text=verifier(name))

    return (
        web.get(f"/docs/{FILE}", show_module),
        web.get(f"/docs/{FILE}.sha256", show_digest),
        web.get("/docs/verifiers/{name}", show_verifier),
    )
