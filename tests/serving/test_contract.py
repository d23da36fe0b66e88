"""Whatever is sent to the routes, the service answers as its OpenAPI document says, and never breaks."""

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode, checks

from fathom.serving.app import service_app
from fathom.serving.limits import Limits
from fathom.serving.store.store import Store
from tests.serving.shop import offer, running

ROUTES = (
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/metrics"),
    ("get", "/v1/runs"),
    ("post", "/v1/recommend"),
    ("post", "/v1/similar"),
    ("post", "/v1/rate"),
    ("get", "/v1/items"),
    ("post", "/v1/items"),
    ("delete", "/v1/items/{item}"),
    ("put", "/v1/items/{item}"),
    ("post", "/v1/feedback"),
    ("get", "/v1/feedback"),
    ("get", "/v1/people"),
    ("get", "/v1/people/{user}"),
    ("post", "/v1/chat"),
    ("get", "/v1/models"),
    ("post", "/v1/chat/completions"),
)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[schemathesis.BaseSchema]:
    """The document of a service that runs."""
    store = Store(str(tmp_path_factory.mktemp("contract") / "state.db"))
    with running(service_app([offer()], store, limits=Limits(seconds=5))) as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")
    store.close()


def test_no_route_is_left_out(api: schemathesis.BaseSchema) -> None:
    assert {(operation.ok().method.lower(), operation.ok().path) for operation in api.get_all_operations()} == set(ROUTES)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.name.lower())
@pytest.mark.parametrize(("method", "path"), ROUTES, ids=lambda part: part.removeprefix("/"))
def test_every_route_keeps_its_word(api: schemathesis.BaseSchema, method: str, path: str, mode: GenerationMode) -> None:
    operation = api[path][method]
    if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query or operation.path_parameters):
        pytest.skip("nothing can be sent to it that is wrong")

    @settings(max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def sent(case: schemathesis.Case) -> None:
        case.call_and_validate(
            checks=[
                checks.not_a_server_error,
                checks.status_code_conformance,
                checks.content_type_conformance,
                checks.response_headers_conformance,
                checks.response_schema_conformance,
                checks.negative_data_rejection,
            ],
            timeout=30,
        )

    sent()
