"""Who may do what: every route is asked, so that a new one cannot be forgotten."""

from __future__ import annotations

import logging
import re
import sys
import time
from subprocess import run

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from optml_queue.api.access import HARMLESS, OPEN, OPEN_FOLDERS, SAFE_METHODS, SESSION_COOKIE
from optml_queue.api.installation import Installation
from optml_queue.errors import InputError, NotFoundError
from optml_queue.store import Store
from optml_queue.store.tokens import Role
from tests.api.installations import SPEC, submitted

pytestmark = pytest.mark.integration

WITHOUT_TOKEN = {"/healthz", "/readyz", "/session", "/sign-in", "/sign-out"}
OF_OPERATORS = {"/experiments/new", "/experiments/grid-aaaaa/extend"}  # forms whose only use is to change something


def routes(app: FastAPI) -> list[tuple[str, str]]:
    """Every method and path there is, parameters filled in."""
    found = []
    for route in iter_route_contexts(app.routes):
        path = re.sub(r"{number}", "0", str(route.path)).replace("{form}", "csv").replace("{class}", "default")
        path = re.sub(r"{[^}]*}", "grid-aaaaa", path)
        found += [(method, path) for method in sorted(route.methods or ["GET"])]
    return found


def test_the_routes_that_need_no_token_are_few(app: FastAPI) -> None:
    assert {path for _, path in routes(app)} & set(OPEN) == WITHOUT_TOKEN == set(OPEN)


def test_without_a_token_every_route_is_closed(app: FastAPI, anonymous: httpx.Client) -> None:
    asked = [
        (method, path)
        for method, path in routes(app)
        if path not in WITHOUT_TOKEN and not path.startswith(OPEN_FOLDERS)
    ]
    assert len(asked) > 30
    for method, path in [*asked, ("GET", "/no/such/page"), ("GET", "/healthz/"), ("GET", "/static/../metrics")]:
        response = anonymous.request(method, path)
        assert response.status_code == 401, (method, path)
        assert response.headers["content-type"] == "application/problem+json" or method == "HEAD"
        assert response.headers["www-authenticate"].startswith("Bearer")


def test_a_viewer_changes_nothing(app: FastAPI, viewer: httpx.Client, here: Installation) -> None:
    before = set(here.store.client.keys("*"))
    changing = [(m, p) for m, p in routes(app) if m not in SAFE_METHODS and p not in (*OPEN, *HARMLESS)]
    assert len(changing) >= 9
    for method, path in changing:
        response = viewer.request(method, path, content=SPEC)
        assert response.status_code == 403, (method, path)
        assert "viewer" in response.json()["detail"]
    for path in HARMLESS:
        assert viewer.post(path, content=SPEC).status_code == 200
    assert {key for key in here.store.client.keys("*") if not key.startswith("optml:rate:")} == before


def test_a_viewer_may_look_at_everything(app: FastAPI, viewer: httpx.Client, here: Installation) -> None:
    for method, path in routes(app):
        if method in SAFE_METHODS and path not in OF_OPERATORS:
            assert viewer.request(method, path).status_code not in (401, 403), (method, path)


@pytest.mark.parametrize(
    "shown",
    [
        "",
        "Bearer",
        "Bearer nonsense",
        "Basic b3B0bWw6b3B0bWw=",
        "Bearer optml_000000000000_" + "A" * 43,
        "Bearer " + "x" * 5000,
    ],
)
def test_what_is_no_token_opens_nothing(anonymous: httpx.Client, shown: str) -> None:
    assert anonymous.get("/api/v1/experiments", headers={"Authorization": shown}).status_code == 401


def test_the_right_id_with_another_secret_opens_nothing(anonymous: httpx.Client, here: Installation) -> None:
    text, token = here.tokens.create("alice", Role.OPERATOR)
    wrong = text[:-1] + ("A" if text[-1] != "A" else "B")
    assert here.tokens.of(text) == token
    assert here.tokens.of(wrong) is None
    assert anonymous.get("/metrics", headers={"Authorization": f"Bearer {wrong}"}).status_code == 401


def test_the_store_keeps_nothing_that_opens(here: Installation, store: Store) -> None:
    text, token = here.tokens.create("alice", Role.OPERATOR)
    session = here.tokens.open_session(token)
    kept = str(store.client.hgetall("optml:tokens")) + str(store.client.keys("*"))
    assert text not in kept
    assert text.rpartition("_")[2] not in kept
    assert session not in kept


def test_an_expired_token_opens_nothing(here: Installation) -> None:
    text, token = here.tokens.create("alice", Role.VIEWER, lifetime_s=0.05)
    session = here.tokens.open_session(token)
    time.sleep(0.06)
    assert here.tokens.of(text) is None
    assert here.tokens.of_session(session) is None
    assert not here.tokens.any_valid()


def test_a_revoked_token_ends_its_sessions(here: Installation) -> None:
    text, token = here.tokens.create("alice", Role.VIEWER)
    session = here.tokens.open_session(token)
    assert here.tokens.of_session(session) == token
    here.tokens.revoke("alice")
    assert here.tokens.of(text) is None
    assert here.tokens.of_session(session) is None
    with pytest.raises(NotFoundError):
        here.tokens.revoke("alice")


@pytest.mark.parametrize("name", ["", "two words", "../x", "a\nb", "x" * 64])
def test_a_token_has_a_plain_name(here: Installation, store: Store, name: str) -> None:
    with pytest.raises(InputError, match="name"):
        here.tokens.create(name, Role.VIEWER)


def test_names_of_tokens_are_unique(here: Installation, store: Store) -> None:
    here.tokens.create("alice", Role.VIEWER)
    with pytest.raises(InputError, match="already"):
        here.tokens.create("alice", Role.OPERATOR)


# Sessions


def signed_in(client: httpx.Client, here: Installation, role: Role = Role.OPERATOR) -> httpx.Response:
    text, _ = here.tokens.create("alice", role)
    return client.post("/session", json={"token": text}, headers={"Sec-Fetch-Site": "same-origin"})


def test_signing_in_sets_a_cookie_that_no_script_reads(anonymous: httpx.Client, here: Installation) -> None:
    response = signed_in(anonymous, here)
    assert response.status_code == 201
    assert response.json() == {"name": "alice", "role": "operator"}
    cookie = response.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert anonymous.get("/api/v1/experiments").status_code == 200
    assert anonymous.delete("/session", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 204
    assert anonymous.get("/api/v1/experiments").status_code == 401


def test_a_session_that_was_closed_is_closed_in_the_store(anonymous: httpx.Client, here: Installation) -> None:
    signed_in(anonymous, here)
    text = anonymous.cookies[SESSION_COOKIE]
    anonymous.delete("/session", headers={"Sec-Fetch-Site": "same-origin"})
    assert anonymous.get("/metrics", headers={"Cookie": f"{SESSION_COOKIE}={text}"}).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "same-site", "Origin": "SELF"},
    ],
)
def test_another_sites_page_changes_nothing_by_cookie(
    anonymous: httpx.Client, here: Installation, address: str, headers: dict[str, str]
) -> None:
    signed_in(anonymous, here)
    sent = {name: address if value == "SELF" else value for name, value in headers.items()}
    response = anonymous.post("/api/v1/experiments", content=SPEC, headers=sent)
    assert response.status_code == 403
    assert not here.store.ids()
    assert anonymous.post("/session", json={"token": "x"}, headers=sent).status_code == 403


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "same-origin"}, {"Origin": "SELF"}])
def test_this_sites_own_page_may(
    anonymous: httpx.Client, here: Installation, address: str, headers: dict[str, str]
) -> None:
    signed_in(anonymous, here)
    sent = {name: address if value == "SELF" else value for name, value in headers.items()}
    assert anonymous.post("/api/v1/experiments", content=SPEC, headers=sent).status_code == 201


def test_a_token_in_a_header_needs_no_origin(operator: httpx.Client) -> None:
    assert submitted(operator)


def test_a_bad_header_is_not_made_good_by_a_cookie(anonymous: httpx.Client, here: Installation) -> None:
    signed_in(anonymous, here)
    assert anonymous.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 401


# Rates, records, headers


def test_who_asks_too_often_is_told_when_to_come_again(here: Installation, store: Store) -> None:
    waits = [here.tokens.admit("someone", 60.0) for _ in range(12)]
    assert waits[:10] == [0.0] * 10
    assert 0 < waits[11] <= 1.0
    assert here.tokens.admit("someone-else", 60.0) == 0.0


def test_too_many_requests_is_a_problem_with_retry_after(
    anonymous: httpx.Client, here: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    statuses = [
        anonymous.post("/session", json={"token": "x"}, headers={"Sec-Fetch-Site": "same-origin"}) for _ in range(12)
    ]
    assert statuses[0].status_code == 401
    assert statuses[-1].status_code == 429
    assert int(statuses[-1].headers["retry-after"]) >= 1


def test_what_a_token_did_is_in_the_log(operator: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "optml_queue.audit"):
        id_ = submitted(operator)
        operator.post(f"/api/v1/experiments/{id_}/cancel")
        operator.post("/api/v1/experiments/x%0aforged/cancel")
        operator.get("/api/v1/experiments")
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "a-operator (operator) POST /api/v1/experiments -> 201 from 127.0.0.1"
    assert said[1] == f"a-operator (operator) POST /api/v1/experiments/{id_}/cancel -> 200 from 127.0.0.1"
    assert "\n" not in said[2]
    assert len(said) == 3
    assert "optml_" not in "".join(said)


def test_every_response_carries_the_headers_of_a_careful_site(anonymous: httpx.Client, operator: httpx.Client) -> None:
    for response in (anonymous.get("/healthz"), anonymous.get("/x"), operator.get("/x"), operator.get("/metrics")):
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"


def test_serving_imports_no_tensorflow() -> None:
    code = (
        "import sys, optml_queue.api; from optml_queue.api.routes.algorithms import _catalogue; _catalogue();"
        "print([name for name in ('tensorflow', 'keras', 'torch', 'matplotlib', 'celery') if name in sys.modules])"
    )
    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
