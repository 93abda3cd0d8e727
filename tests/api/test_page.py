"""The page as HTML, against a real store: what it says, what it escapes, and whom it lets do what."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from optml_queue.api.installation import Installation
from optml_queue.api.page import assets
from optml_queue.spec import parse_spec
from optml_queue.store import Assignment, NewTrial, Store, Submission
from optml_queue.store.tokens import Role
from optml_queue.trial import Params, TrialResult, TrialState, digest
from tests.api.installations import SPEC, carried_out, client_of, submitted

pytestmark = pytest.mark.integration

HTML = {"Accept": "text/html,application/xhtml+xml"}
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}javascript:alert(1)"


class Danger(HTMLParser):
    """Finds scripts without a source, event handlers, styles and addresses that would run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "script" and not (given.get("src") or "").startswith("/static/"):
            self.found.append(f"<script {given}>")
        for name, value in attrs:
            if name.startswith("on") or name == "style":
                self.found.append(f"{tag} {name}")
            if name in ("href", "src", "action") and not re.match(r"[/?#]|https?://", value or ""):
                self.found.append(f"{tag} {name}={value}")


@pytest.fixture
def reader(address: str, here: Installation, store: Store) -> Iterator[httpx.Client]:
    """An operator's browser, without JavaScript."""
    token, _ = here.tokens.create("reader", Role.OPERATOR)
    with httpx.Client(base_url=address, headers=HTML | SAME_ORIGIN, timeout=30) as client:
        response = client.post("/sign-in", data={"token": token, "target": "/workers"})
        assert (response.status_code, response.headers["location"]) == (303, "/workers")
        yield client


@pytest.fixture
def hostile(store: Store) -> str:
    """An experiment whose every text is an attack: name of a parameter, value, worker, error, log, reason."""
    spec = parse_spec(SPEC, "spec", Path())
    text = json.loads(spec.to_json())
    text["parameters"] = {HOSTILE: {"values": [HOSTILE, "b", "c"]}}
    text["text"] = f"# {HOSTILE}\n"
    submission = Submission(HOSTILE, json.dumps(text), 3, HOSTILE, "minimize", "default", max_attempts=1)
    id_ = "hostile-1"
    store.create(id_, submission)
    params: Params = {HOSTILE: HOSTILE}
    store.reserve(id_, 0, 3, [NewTrial(n, params, 0) for n in range(3)], exhausted=True)
    for publication in store.claim(store.experiment(id_), 2):
        n, token = publication.number, f"t{publication.number}"
        begun = store.begin(id_, n, publication.generation, digest(params), token, HOSTILE, 30.0)
        assert isinstance(begun, Assignment)
        store.log(id_, n, HOSTILE)
        if n == 0:
            store.report(id_, n, token, 1, 1.0)
            store.finish(id_, n, token, TrialResult(TrialState.COMPLETE, {HOSTILE: 1.0}, HOSTILE))
        elif n == 1:
            store.release(id_, n, token, "error", failed=True, error=HOSTILE, traceback=HOSTILE)
    return id_


def test_nothing_that_an_experiment_says_runs_in_a_page(reader: httpx.Client, hostile: str, store: Store) -> None:
    store.pause(hostile, HOSTILE)
    base = f"/experiments/{hostile}"
    paths = ["/", base, f"{base}?part=live", f"{base}/trials", f"{base}/trials?state=failed", "/workers"]
    paths += [f"{base}/trials/{n}" for n in range(3)]
    paths += [f"{base}/plots/error", f"{base}/cancel", f"{base}/extend", f"/experiments/new?like={hostile}", "/compare"]
    paths += [f"/experiments/{hostile}/trials?where={HOSTILE.replace('&', '')}", f"/?said={HOSTILE}"]
    for path in paths:
        response = reader.get(path)
        assert response.status_code in (200, 422), (path, response.text[:400])
        assert Danger(response.text).found == [], path
        assert "<img src=x" not in response.text
        assert "script-src 'self';" in response.headers["content-security-policy"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in reader.get(f"{base}/trials/1").text
    for path in ("/", base, f"{base}/trials/0"):
        assert "unsafe" not in reader.get(path).headers["content-security-policy"]
    closer = reader.get(f"{base}/plots/error").headers["content-security-policy"]
    assert closer.count("unsafe") == 1  # styles of plotly.js


def test_without_a_session_every_page_is_the_sign_in_form_and_says_401(anonymous: httpx.Client) -> None:
    for path in ("/", "/experiments/new", "/experiments/none", "/workers", "/compare", "/nothing-here"):
        response = anonymous.get(path, headers=HTML)
        assert response.status_code == 401
        assert f'name="target" value="{path}"' in response.text
    assert anonymous.get("/").headers["content-type"] == "application/problem+json"
    refused = anonymous.post("/sign-in", data={"token": "optml_wrong"}, headers=HTML | SAME_ORIGIN)
    assert refused.status_code == 401
    assert "not a valid token" in refused.text


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_signing_in_leads_nowhere_else(anonymous: httpx.Client, here: Installation, target: str) -> None:
    token, _ = here.tokens.create("ada", Role.VIEWER)
    response = anonymous.post("/sign-in", data={"token": token, "target": target}, headers=SAME_ORIGIN)
    assert response.headers["location"] == "/"
    assert "HttpOnly" in response.headers["set-cookie"]


def test_forms_of_other_sites_are_refused(reader: httpx.Client, operator: httpx.Client, store: Store) -> None:
    id_ = submitted(operator)
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}):
        response = reader.post(f"/experiments/{id_}/pause", headers=headers)
        assert response.status_code == 403
        assert "this site&#39;s own pages only" in response.text
    assert store.experiment(id_).state == "running"
    assert reader.post(f"/experiments/{id_}/pause").status_code == 303
    assert store.experiment(id_).state == "paused"


def test_a_viewer_changes_nothing_by_form(
    address: str, here: Installation, operator: httpx.Client, store: Store
) -> None:
    id_ = submitted(operator)
    with client_of(address, here, Role.VIEWER) as viewer:
        for verb in ("pause", "stop", "cancel", "remove", "retry", "extend"):
            response = viewer.post(f"/experiments/{id_}/{verb}", data={"sure": "yes"}, headers=HTML)
            assert response.status_code == 403
        assert viewer.post("/experiments/new", data={"spec": SPEC}, headers=HTML).status_code == 403
        assert 'method="post" action="/experiments' not in viewer.get(f"/experiments/{id_}", headers=HTML).text
    assert store.experiment(id_).state == "running"
    assert store.ids() == [id_]


def test_what_cannot_be_taken_back_is_asked_first(reader: httpx.Client, operator: httpx.Client, store: Store) -> None:
    id_ = submitted(operator)
    assert reader.post(f"/experiments/{id_}/cancel").status_code == 409
    assert store.experiment(id_).state == "running"
    assert "told to end now" in reader.get(f"/experiments/{id_}/cancel").text
    done = reader.post(f"/experiments/{id_}/cancel", data={"sure": "yes", "reason": "enough"})
    assert done.headers["location"] == f"/experiments/{id_}?said=cancel"
    assert store.experiment(id_).reason == "enough"
    assert "Cancelled. Results so far stay." in reader.get(done.headers["location"]).text


def test_a_spec_is_submitted_by_form_once_and_a_bad_one_comes_back(reader: httpx.Client, store: Store) -> None:
    bad = reader.post("/experiments/new", data={"spec": "name: <b>\r\nalgorithm: lms\r\n", "key": "k"})
    assert bad.status_code == 422
    assert "line 1" in bad.text
    assert "name: &lt;b&gt;" in bad.text
    sent = {"spec": SPEC.replace("\n", "\r\n"), "key": "k"}
    first, second = (reader.post("/experiments/new", data=sent) for _ in range(2))
    assert first.status_code == 303
    assert first.headers["location"] == second.headers["location"]
    (id_,) = store.ids()
    assert reader.get(f"/experiments/{id_}/spec.yaml").text == SPEC


def test_pages_say_what_the_api_says(reader: httpx.Client, operator: httpx.Client) -> None:
    id_ = submitted(operator)
    for path in ("/experiments/none", f"/experiments/{id_}/trials/999999", "/experiments/a%2Fb", "/nothing"):
        response = reader.get(path)
        assert response.status_code in (404, 422)
        assert "<h1>" in response.text
    detail = operator.get("/api/v1/experiments/none").json()["detail"]
    assert detail.split(";")[0].replace("'", "&#39;") in reader.get("/experiments/none").text
    assert reader.get("/api/v1/experiments/none").headers["content-type"] == "application/problem+json"


def test_trials_are_sorted_filtered_and_paged_by_the_server(
    reader: httpx.Client, operator: httpx.Client, store: Store
) -> None:
    values = ", ".join(f"{n}e-4" for n in range(1, 121))
    id_ = submitted(operator, SPEC.replace("1e-3, 1e-2, 0.1, 1.0", values))
    carried_out(store, id_, states="cdf")

    def numbers(query: str) -> list[int]:
        text = reader.get(f"/experiments/{id_}/trials?{query}").text
        return [int(found) for found in re.findall(r'<th scope="row" class="num"><a href="[^"]*">(\d+)</a>', text)]

    assert numbers("sort=metric")[:3] == [119, 118, 117]
    assert numbers("sort=metric&page=3")[-1] == 0
    assert numbers("sort=metric&descending=1")[:2] == [0, 3]
    assert numbers("sort=params.learning_rate&descending=1&page=3")[-2:] == [1, 0]
    head = reader.get(f"/experiments/{id_}/trials?sort=params.learning_rate").text
    assert 'aria-sort="ascending"><a class="sort" href="' in head
    assert "sort=params.learning_rate&amp;descending=1" in head
    assert numbers("sort=params.none") == numbers("sort=metric")
    assert numbers("state=failed") == [2]
    assert numbers("sort=number&where=learning_rate<%3D3e-4") == [0, 1, 2]
    assert "is no condition" in reader.get(f"/experiments/{id_}/trials?where=nonsense").text
    assert "ValueError: &lt;b&gt;no&lt;/b&gt;" in reader.get(f"/experiments/{id_}/trials?state=failed").text


def test_hints_name_the_edge_and_what_always_diverges(
    reader: httpx.Client, operator: httpx.Client, store: Store
) -> None:
    id_ = submitted(operator, SPEC.replace("1e-3, 1e-2, 0.1, 1.0", "1e-5, 1e-4, 1e-3, 1e-2, 0.1"))
    carried_out(store, id_, states="cccdd")
    text = reader.get(f"/experiments/{id_}").text.replace("\N{NON-BREAKING HYPHEN}", "-")
    assert "All 2 trials with learning_rate ≥ 0.01 diverged: leave them out." in text
    assert "Look closer around learning_rate 0.001, between 0.0001 and 0.01." in text


def test_a_trial_leads_to_its_parents_and_children(reader: httpx.Client, operator: httpx.Client, store: Store) -> None:
    rates = "[1e-3, 1e-2, 0.1, 1.0]\n  filter_size: {value: 5}"
    evolved = "{min: 1e-9, max: 1e-2, scale: log}\nmethod: evolution\nmax_trials: 30"
    id_ = submitted(operator, SPEC.replace(rates, evolved))
    carried_out(store, id_)
    (parent,) = store.trials(id_, [29])[0].parents
    child = operator.get(f"/api/v1/experiments/{id_}/trials/29").json()
    assert (child["parents"], child["children"]) == ([parent], [])
    assert 29 in operator.get(f"/api/v1/experiments/{id_}/trials/{parent}").json()["children"]
    link = '<a href="/experiments/{}/trials/{}">{}</a>'
    assert link.format(id_, parent, parent) in reader.get(f"/experiments/{id_}/trials/29").text
    assert link.format(id_, 29, 29) in reader.get(f"/experiments/{id_}/trials/{parent}").text


def test_lists_are_labels_in_plots_and_their_lengths_in_hints(
    reader: httpx.Client, operator: httpx.Client, store: Store
) -> None:
    lists = "{list: {of: [8, 16], min_length: 0, max_length: 2}}"
    text = f"{{name: n, algorithm: ann, parameters: {{learning_rate: 0.1, network_size: {lists}}}, data: digits}}"
    id_ = submitted(operator, text)
    carried_out(store, id_, metric="error_rate")
    points = operator.get(f"/api/v1/experiments/{id_}/plots/points").json()
    assert points["parameters"]["network_size"] == [[], [8], [16], [8, 8], [8, 16], [16, 8], [16, 16]]
    shown = reader.get(f"/experiments/{id_}").text
    assert "The best len(network_size), 2, is the largest that was tried: try larger ones." in shown
    found = operator.get(f"/api/v1/experiments/{id_}/trials", params={"where": "network_size=[8, 16]"}).json()
    assert [trial["number"] for trial in found["trials"]] == [4]


def test_own_files_are_cached_for_good_and_nothing_else_is_served(anonymous: httpx.Client) -> None:
    for name in (*assets.names(), assets.PLOTLY):
        response = anonymous.get(assets.address(name))
        assert response.status_code == 200
        assert "immutable" in response.headers["cache-control"]
    folder = assets.address("x").removesuffix("/x")
    for path in (f"{folder}/../page.py", f"{folder}/%2e%2e%2fassets.py", f"{folder}/none.js", "/static/0/page.css"):
        assert anonymous.get(path).status_code in (401, 404)
