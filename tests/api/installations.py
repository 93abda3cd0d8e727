"""What tests of the API share: clients by role, specs, and experiments at any stage without a worker."""

from __future__ import annotations

import io
import tarfile

import httpx

from optml_queue.api.installation import Installation
from optml_queue.experiments import advance
from optml_queue.store import Assignment, Publication, Store
from optml_queue.store.tokens import Role
from optml_queue.trial import TrialResult, TrialState, digest

SPEC = """name: grid
algorithm: lms
parameters:
  learning_rate: [1e-3, 1e-2, 0.1, 1.0]
  filter_size: {value: 5}
data: sunspots
"""


def client_of(address: str, here: Installation, role: Role) -> httpx.Client:
    """A client with a token of a role."""
    text, _ = here.tokens.create(f"a-{role}", role)
    return httpx.Client(base_url=address, headers={"Authorization": f"Bearer {text}"}, timeout=30)


def submitted(client: httpx.Client, spec: str = SPEC) -> str:
    """Submit a spec; the experiment's id."""
    response = client.post("/api/v1/experiments", content=spec, headers={"Content-Type": "application/yaml"})
    assert response.status_code == 201, response.text
    return str(response.json()["experiment"])


def tar_of(files: dict[str, str]) -> bytes:
    """A tar archive of these texts, as programs are uploaded."""
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(content.encode()), 1234
            archive.addfile(entry, io.BytesIO(content.encode()))
    return body.getvalue()


def carried_out(store: Store, experiment: str, states: str = "", most: int = 1_000_000, metric: str = "nmse") -> int:
    """Run queued trials by hand; how many. Each letter of `states` is how one ends: c(omplete), d(iverged), f(ailed).

    Trials beyond `states` complete; trial n has the metric 1 / (n + 1).
    """
    done = 0
    while done < most:
        published: list[Publication] = []
        advance(store, published.extend, experiment)
        if not published:
            return done
        for publication in published[: most - done]:
            _attempt(store, publication, states[done] if done < len(states) else "c", metric)
            done += 1
    return done


def _attempt(store: Store, publication: Publication, ended: str, metric: str) -> None:
    experiment, number, token = publication.experiment, publication.number, f"t{publication.number}"
    fingerprint = digest(publication.params)
    begun = store.begin(experiment, number, publication.generation, fingerprint, token, "w1", 30.0)
    assert isinstance(begun, Assignment)
    if ended == "f":
        store.release(experiment, number, token, "error", failed=True, error="ValueError: <b>no</b>", traceback="…")
        return
    state = TrialState.DIVERGED if ended == "d" else TrialState.COMPLETE
    value = float("nan") if ended == "d" else 1 / (number + 1)
    store.report(experiment, number, token, 1, 2.0)
    store.report(experiment, number, token, 2, 1.0)
    store.finish(experiment, number, token, TrialResult(state, {metric: value}))
