"""What people see in a browser: the page, and the routes with their fields. Nothing is fetched from elsewhere."""

from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.responses import Response

FILES: Mapping[str, tuple[str, str]] = {
    "/": ("index.html", "text/html"),
    "/app.css": ("app.css", "text/css"),
    "/app.js": ("app.js", "text/javascript"),
}
"""Path -> file and kind: there are no others, so no path can lead elsewhere."""

POLICY = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
"""Of every page: scripts and styles from this server alone, nothing written into the page itself."""


def page_routes(app: FastAPI) -> APIRouter:
    """Of one service."""
    router = APIRouter(include_in_schema=False)
    folder = files("fathom.serving") / "static"

    def page(text: str, kind: str) -> Response:
        headers = {"content-security-policy": POLICY, "referrer-policy": "no-referrer"}
        return Response(text, media_type=kind, headers=headers)

    for path, (name, kind) in FILES.items():
        text = (folder / name).read_text(encoding="utf-8")
        router.add_api_route(path, _giving(page(text, kind)), methods=["GET"])

    @router.get("/docs")
    async def docs() -> Response:
        return page(routes_page(app.openapi()), "text/html")

    return router


def _giving(response: Response):  # type: ignore[no-untyped-def]  # FastAPI reads the inner function
    async def give() -> Response:
        return response

    return give


def routes_page(schema: Mapping[str, Any]) -> str:
    """The OpenAPI document for people: each route, what it takes, what it gives."""
    parts: dict[str, list[str]] = {}
    for path, methods in schema["paths"].items():
        for method, route in methods.items():
            parts.setdefault(route.get("tags", ["more"])[0], []).append(_route(method, path, route, schema))
    inside = "".join(f"<h2>{escape(tag.capitalize())}</h2>{''.join(routes)}" for tag, routes in parts.items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        '<title>Fathom: routes</title><link rel="icon" href="data:,"><link rel="stylesheet" href="app.css"></head><body>'
        '<header><p class="brand">Fathom</p><p id="facts" class="quiet">Routes. Machines read <a href="openapi.json">openapi.json</a>.</p>'
        f'<a href="./">The page</a></header><main class="routes">{inside}</main></body></html>'
    )


def _route(method: str, path: str, route: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    body = route.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    fields = [*_parameters(route.get("parameters", ())), *_fields(body, schema)]
    gives = route.get("responses", {})
    good: Mapping[str, Any] = next((one for code, one in gives.items() if code.startswith("2")), {})
    answer = _fields(good.get("content", {}).get("application/json", {}).get("schema", {}), schema)
    return (
        f"<article><p><code><strong>{method.upper()}</strong> {escape(path)}</code></p>"
        f'<p class="quiet">{escape(route.get("description") or route.get("summary", ""))}</p>'
        f"{_table('takes', fields)}{_table('gives', answer)}</article>"
    )


def _parameters(parameters: Any) -> list[tuple[str, str, str]]:
    return [(one["name"], _kind(one["schema"]), one.get("description", "")) for one in parameters]


def _fields(body: Mapping[str, Any], schema: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Name, kind and meaning of each field of a body; of a list, of what it holds."""
    inner = body.get("items", body) if body.get("type") == "array" else body
    name = inner.get("$ref", "").rpartition("/")[2]
    told = schema.get("components", {}).get("schemas", {}).get(name, {})
    return [(field, _kind(one), one.get("description", "")) for field, one in told.get("properties", {}).items()]


def _kind(one: Mapping[str, Any]) -> str:
    if "$ref" in one:
        return str(one["$ref"].rpartition("/")[2])
    if "anyOf" in one:
        return " or ".join(_kind(option) for option in one["anyOf"])
    if "enum" in one:
        return ", ".join(map(str, one["enum"]))
    if one.get("type") == "array":
        return f"list of {_kind(one.get('items', {}))}"
    return str(one.get("type", "anything"))


def _table(title: str, fields: list[tuple[str, str, str]]) -> str:
    if not fields:
        return ""
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(kind)}</td><td>{escape(meaning)}</td></tr>" for name, kind, meaning in fields
    )
    return f'<table aria-label="{title}"><tr><td colspan="3" class="quiet">{title}</td></tr>{rows}</table>'
