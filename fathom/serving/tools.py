"""The service's routes as tools of the Model Context Protocol, so that other agents can ask, rate, search and tell what people did.

A tool is a route: its fields, its checks and its refusals are the route's own, read from the OpenAPI document.
"""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx
from fastapi import FastAPI
from mcp.server import Server, ServerRequestContext
from mcp.server.stdio import stdio_server
from mcp_types import CallToolRequestParams, CallToolResult, ListToolsResult, PaginatedRequestParams, TextContent, Tool, ToolAnnotations

from fathom import __version__
from fathom.errors import suggestion

TOOLS: Mapping[str, tuple[str, str]] = {
    "list_runs": ("get", "/v1/runs"),
    "recommend": ("post", "/v1/recommend"),
    "similar": ("post", "/v1/similar"),
    "rate": ("post", "/v1/rate"),
    "chat": ("post", "/v1/chat"),
    "search_items": ("get", "/v1/items"),
    "add_item": ("post", "/v1/items"),
    "remove_item": ("delete", "/v1/items/{item}"),
    "feedback": ("post", "/v1/feedback"),
    "person": ("get", "/v1/people/{user}"),
}
"""Name of each tool -> the route behind it."""

UNTOLD = ("stream",)
"""Fields that a tool does not have: it answers once."""

INSTRUCTIONS = (
    "Recommendations from the runs of Fathom that list_runs names. Items are given by their id or exact title: search_items finds them. "
    "With explain=true a reasoning model also tells what it thought, asked for and saw."
)

Schema = dict[str, Any]


async def serve_tools(app: FastAPI) -> None:
    """Answer over standard input and output until the other side has gone."""
    server = tool_server(app)
    async with app.router.lifespan_context(app), stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


def tool_server(app: FastAPI) -> Server[Any]:
    """The tools over a service's app, which must have begun its life (`app.router.lifespan_context`)."""
    document = app.openapi()
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app=app, raise_app_exceptions=False), base_url="http://fathom", timeout=None)
    tools = [_tool(name, method, document["paths"][path][method], document) for name, (method, path) in TOOLS.items()]

    async def listed(_: ServerRequestContext[Any], __: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=tools)

    async def called(_: ServerRequestContext[Any], asked: CallToolRequestParams) -> CallToolResult:
        if asked.name not in TOOLS:
            return _refused(f"there is no tool '{asked.name}'{suggestion(asked.name, TOOLS)}")
        return await _called(client, document, asked.name, asked.arguments or {})

    return Server("fathom", title="Fathom", version=__version__, instructions=INSTRUCTIONS, on_list_tools=listed, on_call_tool=called)


async def _called(client: httpx.AsyncClient, document: Schema, name: str, arguments: Mapping[str, Any]) -> CallToolResult:
    method, path = TOOLS[name]
    route = document["paths"][path][method]
    inner = {one["name"]: one["in"] for one in route.get("parameters", ())}
    filled = {key: value for key, value in arguments.items() if inner.get(key) == "path"}
    if missing := [key for key, where in inner.items() if where == "path" and not filled.get(key)]:
        return _refused(f"{missing[0]}: it is missing")
    query = {key: value for key, value in arguments.items() if inner.get(key) == "query" and value is not None}
    body = {key: value for key, value in arguments.items() if key not in inner and key not in UNTOLD}
    if body and "requestBody" not in route:
        return _refused(f"{next(iter(body))}: {name} has no such field{suggestion(next(iter(body)), inner)}")
    address = path.format(**{key: quote(str(value), safe="") for key, value in filled.items()})  # no slash of it leads elsewhere
    answer = await client.request(method, address, params=query, json=body if "requestBody" in route else None)
    told = answer.json()
    if answer.is_error:
        return _refused(told["error"]["message"])
    structured = told if isinstance(told, dict) else {"result": told}  # the protocol wants an object
    return CallToolResult(content=[TextContent(text=json.dumps(told, ensure_ascii=False))], structured_content=structured)


def _refused(message: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=message)], is_error=True)


def _tool(name: str, method: str, route: Schema, document: Schema) -> Tool:
    body = route.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    schema: Schema = _inlined(body, document) if body else {"type": "object", "properties": {}, "additionalProperties": False}
    for one in route.get("parameters", ()):
        schema["properties"][one["name"]] = _inlined(one["schema"], document) | {"description": one.get("description", "")}
    needed = [one["name"] for one in route.get("parameters", ()) if one.get("required")] + schema.get("required", [])
    for field in UNTOLD:
        schema["properties"].pop(field, None)
    return Tool(
        name=name,
        description=route["description"],
        input_schema=schema | ({"required": needed} if needed else {}),
        annotations=ToolAnnotations(
            read_only_hint=name in ("list_runs", "search_items", "person", "similar", "rate", "recommend"),
            destructive_hint=method == "delete",
            open_world_hint=False,
        ),
    )


def _inlined(schema: Any, document: Schema) -> Any:
    """A copy of the schema, with all that it refers to written into it."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _inlined(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document)
        return {key: _inlined(value, document) for key, value in schema.items()}
    return [_inlined(one, document) for one in schema] if isinstance(schema, list) else schema
