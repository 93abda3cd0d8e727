"""What somebody with a token, or without, might try. docs/api.md lists these."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from optml_queue.api.installation import Installation
from optml_queue.api.submission import is_below
from optml_queue.archive.dataset import key_of
from optml_queue.settings import Settings
from tests.api.installations import SPEC, carried_out, submitted

pytestmark = pytest.mark.integration

EXPERIMENTS = "/api/v1/experiments"
YAML = {"Content-Type": "application/yaml"}
SERIES = "x,y\n" + "".join(f"{n},{n / 7}\n" for n in range(200))
SECRET = "Xy7-nobody-may-read-this"


def refused(client: httpx.Client, spec: str, status: int = 422) -> str:
    """The detail with which a spec is refused."""
    response = client.post(EXPERIMENTS, content=spec.encode(), headers=YAML)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    return str(response.json()["detail"])


# Files of the server


@pytest.mark.parametrize(
    "data",
    [
        "{csv: /etc/passwd, column: 0}",
        "{csv: ../../etc/passwd, column: 0}",
        "{csv: ~/.ssh/id_rsa, column: 0}",
        "{csv: file:///etc/passwd, column: 0}",
        "{npz: /etc/passwd}",
        "{name: mnist, path: /etc/passwd}",
        "{csv: 'upload:../../../etc/passwd', column: 0}",
        "{csv: ['/etc/passwd'], column: 0}",
        "&a {csv: &p /etc/passwd, column: 0}",
    ],
)
def test_no_local_file_is_read_or_even_looked_for(operator: httpx.Client, data: str, tmp_path: Path) -> None:
    detail = refused(operator, SPEC.replace("sunspots", data))
    # The same answer whether there is such a file or not: nothing is learned of the server's disk.
    missing = refused(operator, SPEC.replace("sunspots", data.replace("passwd", "no-such-file")))
    assert detail.replace("passwd", "no-such-file") == missing
    assert "no such file" not in detail


def test_a_merge_key_brings_no_path_in(operator: httpx.Client) -> None:
    refused(operator, SPEC.replace("sunspots", "{<<: {csv: /etc/passwd}, column: 0}"))


# S3


@pytest.mark.parametrize(
    ("place", "is_open"),
    [
        ("s3://open/data/a.csv", True),
        ("s3://open/data/deep/a.csv", True),
        ("s3://open/other.csv", False),
        ("s3://open/database/a.csv", False),
        ("s3://closed/data/a.csv", False),
        ("s3://open/data/../secret/a.csv", False),
        ("s3://open/data/%2e%2e/secret/a.csv", False),
        ("s3://open/data//a.csv", False),
        ("s3://open/data/..", False),
        ("s3://open/data/..\\secret", False),
    ],
)
def test_s3_is_read_below_its_prefixes_only(
    operator: httpx.Client, settings: Settings, place: str, is_open: bool
) -> None:
    assert is_below(place, settings.s3_prefixes) is is_open
    if not is_open:
        assert "may be read" in refused(operator, SPEC.replace("sunspots", f"{{csv: '{place}', column: 0}}"))


# Documents made to exhaust


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (bomb(9), "aliases unfold"),
        ("[" * 5_000 + "]" * 5_000, "nesting"),
        ("a: &a [*a]", "anchor"),
        ("!!python/object/apply:os.system [id]", "tag"),
        ("name: !!python/name:os.system x", "tag"),
        ("name: x\n---\nname: y\n", "second document"),
        ("name: " + "9" * 5_000, "digits"),
        ("\0", "binary"),
        ("", "empty"),
        ("- a\n- b", ""),
        ("name: &x\n  <<: *x", ""),
    ],
)
def test_yaml_bombs(operator: httpx.Client, spec: str, said: str) -> None:
    assert said in refused(operator, spec)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("[" * 100_000 + "]" * 100_000, "nested"),
        ('{"a":' * 20_000 + "1" + "}" * 20_000, "nested"),
        (json.dumps({"name": [[[[[]]]]]} | {"x": eval("[" * 40 + "]" * 40)}), "nested"),  # noqa: S307
        ('{"name": "a", "name": "b"}', "twice"),
        ('{"name": 1' + "0" * 5_000 + "}", ""),
        ('{"name": ', "not JSON"),
        ("NaN", ""),
        ('{"name": "\\ud800"}', ""),
    ],
)
def test_json_bombs(operator: httpx.Client, body: str, said: str) -> None:
    response = operator.post(EXPERIMENTS, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422, response.text
    assert said in response.json()["detail"]


def test_deep_json_in_a_small_body(operator: httpx.Client) -> None:
    id_ = submitted(operator)
    body = '{"reason":' + "[" * 50_000 + "]" * 50_000 + "}"
    response = operator.post(f"{EXPERIMENTS}/{id_}/pause", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422)
    assert response.headers["content-type"] == "application/problem+json"


def test_a_large_grid_costs_nothing_to_look_at(operator: httpx.Client) -> None:
    axes = "\n".join(f"  p{n}: {{values: [{', '.join(map(str, range(100)))}]}}" for n in range(8))
    spec = f"name: x\nalgorithm: lms\nparameters:\n  learning_rate: {{min: 0, max: 1, step: 1e-9}}\n{axes}\n"
    assert operator.post("/api/v1/validation", content=spec, headers=YAML).status_code == 422


# Size


def raw(address: str, request: bytes) -> tuple[int, dict[str, str]]:
    """Send bytes that no client library would; the status and headers of the answer."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10)
    connection.connect()
    connection.sock.sendall(request)
    response = http.client.HTTPResponse(connection.sock)
    response.begin()
    response.read()
    connection.close()
    return response.status, {name.lower(): value for name, value in response.getheaders()}


def test_a_body_too_large_is_refused_by_its_announcement(operator: httpx.Client) -> None:
    assert operator.post(EXPERIMENTS, content=b"x" * (1 << 20 | 1), headers=YAML).status_code == 413
    assert operator.post("/api/v1/data", content=b"x" * (2 << 20 | 1)).status_code == 413


@pytest.mark.parametrize("path", [EXPERIMENTS, "/api/v1/data", f"{EXPERIMENTS}/x/pause"])
def test_a_body_too_large_is_refused_while_it_comes(operator: httpx.Client, path: str) -> None:
    chunks = (b" " * 65_536 for _ in range(40))
    response = operator.post(path, content=chunks, headers={"Content-Type": "application/json"})
    assert response.status_code == 413
    assert response.json()["title"]


def test_an_address_too_long(operator: httpx.Client) -> None:
    assert operator.get(f"/api/v1/experiments?state={'x' * 9_000}").status_code in (400, 414)


@pytest.mark.parametrize("length", ["-1", "1e3", "9" * 400, "abc"])
def test_a_length_that_is_none(address: str, length: str) -> None:
    status, _ = raw(address, f"POST /api/v1/data HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode())
    assert status in (400, 413)


# Headers and addresses


def test_no_header_can_be_injected(operator: httpx.Client, address: str) -> None:
    for path in ("/x%0d%0aSet-Cookie:%20a=b", f"{EXPERIMENTS}/x%0d%0aSet-Cookie:a=b/results.csv"):
        response = operator.get(path)
        assert response.status_code in (404, 422)
        assert "set-cookie" not in response.headers
        assert "x\r\n" not in str(response.headers)


def test_a_key_with_line_feeds_is_refused(address: str, operator: httpx.Client) -> None:
    head = f"POST {EXPERIMENTS} HTTP/1.1\r\nHost: x\r\nAuthorization: {operator.headers['authorization']}\r\n"
    status, headers = raw(address, f"{head}Idempotency-Key: a b\r\nContent-Length: 1\r\n\r\nx".encode())
    assert status == 422
    assert "a b" not in str(headers)


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/experiments/..%2f..%2fetc/spec",
        "/api/v1/experiments/%2e%2e/spec",
        "/api/v1/experiments/..%5c..%5cetc/results.csv",
        "/api/v1/experiments/latest%00/spec",
        "/static/%2e%2e/%2e%2e/etc/passwd",
        "/static/..%2f..%2fetc%2fpasswd",
        "//etc/passwd",
    ],
)
def test_no_path_leads_out(operator: httpx.Client, here: Installation, path: str) -> None:
    (here.settings.cache_dir.parent / "secret").write_text(SECRET)
    response = operator.get(path)
    assert response.status_code in (404, 422)
    assert SECRET not in response.text


def test_markup_in_a_spec_stays_data(operator: httpx.Client) -> None:
    detail = refused(operator, "name: '<script>alert(1)</script>'\nalgorithm: lms\nparameters: {learning_rate: [1]}\n")
    assert "<script>" in detail  # said as JSON, never as HTML: the content type and nosniff see to it


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND"])
def test_odd_methods(operator: httpx.Client, method: str) -> None:
    assert operator.request(method, EXPERIMENTS).status_code in (400, 405)


# Uploads


def uploaded(client: httpx.Client, body: str | bytes) -> str:
    content = body.encode() if isinstance(body, str) else body
    response = client.post("/api/v1/data", content=content)
    assert response.status_code == 201, response.text
    return str(response.json()["reference"])


def test_an_upload_is_kept_by_its_content_and_used_by_name(operator: httpx.Client, here: Installation) -> None:
    reference = uploaded(operator, SERIES)
    assert uploaded(operator, SERIES) == reference
    assert here.archive.get(key_of(reference.removeprefix("upload:"))) == SERIES.encode()
    id_ = submitted(operator, SPEC.replace("sunspots", f'{{csv: "{reference}", column: 1}}'))
    data = json.loads(here.store.spec(id_))["data"]
    assert data["digest"] == reference.removeprefix("upload:")
    assert data["options"]["path"] == reference
    assert str(here.settings.cache_dir) not in here.store.spec(id_)
    assert reference in operator.get(f"{EXPERIMENTS}/{id_}/spec").json()["text"]


@pytest.mark.parametrize(
    "body", ["=cmd|' /C calc'!A0\n" * 20, "x\n\0\n", "\xff\xfe", "1,2\n3\n", "x" * 100_000, "nan\n" * 50, '"' * 5_000]
)
def test_a_csv_that_is_none_is_said_without_the_servers_paths(
    operator: httpx.Client, here: Installation, body: str
) -> None:
    reference = uploaded(operator, body.encode("latin-1"))
    detail = refused(operator, SPEC.replace("sunspots", f'{{csv: "{reference}", column: 1}}'))
    assert str(here.settings.cache_dir) not in detail
    assert reference in detail


def test_an_upload_that_is_not_there(operator: httpx.Client) -> None:
    detail = refused(operator, SPEC.replace("sunspots", f'{{csv: "upload:{"0" * 64}", column: 1}}'))
    assert "no such upload" in detail


def test_an_empty_upload(operator: httpx.Client) -> None:
    assert operator.post("/api/v1/data", content=b"").status_code == 422


# What is said when all goes wrong


def test_a_fault_tells_nothing_of_itself(
    operator: httpx.Client, here: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(here.store, "ids", fails)
    response = operator.get(EXPERIMENTS)
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "content-security-policy" in response.headers
    assert SECRET not in response.text


def test_a_store_that_is_gone_is_said_without_its_password(tmp_path: Path) -> None:
    from optml_queue.api import create_app
    from tests.api.serving import serving
    from tests.valkey_server import free_port

    url = f"redis://:{SECRET}@127.0.0.1:{free_port()}/0"
    app = create_app(Settings(broker_url=url, archive_url=str(tmp_path)))
    with serving(app) as address, httpx.Client(base_url=address, timeout=30) as client:
        assert client.get("/healthz").status_code == 200
        for path, headers in (
            ("/readyz", {}),
            ("/metrics", {"Authorization": "Bearer optml_000000000000_" + "A" * 43}),
        ):
            response = client.get(path, headers=headers)
            assert response.status_code == 503
            assert "retry-after" in response.headers
            assert "not reachable" in response.json()["detail"]
            assert SECRET not in response.text


def test_errors_of_trials_come_as_text(operator: httpx.Client, here: Installation) -> None:
    id_ = submitted(operator)
    carried_out(here.store, id_, "f")
    response = operator.get(f"{EXPERIMENTS}/{id_}/trials/0")
    assert response.headers["content-type"] == "application/json"
    assert "<b>no</b>" in response.text
