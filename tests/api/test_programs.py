"""Users' code over the API: for operators, where it is allowed, as packs; and nothing of it runs in the API."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import httpx
import pytest

from optml_queue import pack
from optml_queue.api.installation import Installation
from optml_queue.archive.program import fetch, key_of
from optml_queue.pack import digest_of
from optml_queue.spec import Command, Program, Spec
from tests.api.installations import SPEC, carried_out, submitted, tar_of

pytestmark = pytest.mark.integration

PROGRAMS, EXPERIMENTS = "/api/v1/programs", "/api/v1/experiments"
YAML = {"Content-Type": "application/yaml"}
TRAIN = "def train(trial):\n    return {'loss': trial.params['a'] ** 2}\n"
REST = "metric: loss\nparameters: {a: [1, 2]}\n"
ECHO = f"name: x\ncommand: [echo, 'loss={{a}}']\n{REST}"


@pytest.fixture
def allowed(here: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(here, "settings", here.settings.model_copy(update={"allow_programs": True}))


def uploaded(client: httpx.Client, files: dict[str, str]) -> str:
    response = client.post(PROGRAMS, content=tar_of(files))
    assert response.status_code == 201, response.text
    return str(response.json()["reference"])


def problems(client: httpx.Client, spec: str, path: str = EXPERIMENTS) -> list[tuple[str, str]]:
    """Keys and messages of a spec that is refused."""
    response = client.post(path, content=spec, headers=YAML)
    assert response.status_code == 422, response.text
    return [(each["key"], each["message"]) for each in response.json()["problems"]]


class TestNotAllowed:
    """As it is unless somebody says otherwise."""

    def test_no_code_comes_in(self, operator: httpx.Client, here: Installation) -> None:
        refused = operator.post(PROGRAMS, content=tar_of({"train.py": TRAIN}))
        assert refused.status_code == 403
        assert "OPTML_ALLOW_PROGRAMS" in refused.json()["detail"]
        assert not list(here.archive.keys("programs"))
        digest = "0" * 64
        for code in (f"program: 'upload:{digest}'", f"command: [sh, x]\nfiles: 'upload:{digest}'", "program: x.py"):
            found = problems(operator, f"name: x\n{code}\n{REST}")
            assert {key for key, _ in found} <= {"program", "command", "files"}
            assert all("OPTML_ALLOW_PROGRAMS" in message for _, message in found)
        assert "OPTML_ALLOW_PROGRAMS" in str(problems(operator, ECHO))

    def test_none_for_viewers_wherever(self, viewer: httpx.Client, allowed: None) -> None:
        assert viewer.post(PROGRAMS, content=tar_of({"train.py": TRAIN})).status_code == 403
        found = problems(viewer, ECHO, "/api/v1/validation")
        assert found == [("command", "is for operators; this token is a viewer's")]
        spec = f"name: x\nprogram: 'upload:{'0' * 64}'\n{REST}"
        assert problems(viewer, spec, "/api/v1/validation")[0][0] == "program"


@pytest.mark.usefixtures("allowed")
class TestAllowed:
    def test_a_program_is_kept_by_its_content_and_never_by_a_place(
        self, operator: httpx.Client, here: Installation, tmp_path: Path
    ) -> None:
        files = {"./train.py": TRAIN, "lib/layers.py": "ONE = 1\n", ".env": "SECRET=1", "__pycache__/x.pyc": "x"}
        answer = operator.post(PROGRAMS, content=tar_of(files)).json()
        assert (answer["count"], answer["files"]) == (2, ["lib/layers.py", "train.py"])
        assert uploaded(operator, {"lib/layers.py": "ONE = 1\n", "train.py": TRAIN}) == answer["reference"]
        assert digest_of(here.archive.get(key_of(answer["digest"]))) == answer["digest"]
        id_ = submitted(operator, f"name: x\nprogram: '{answer['reference']}'\nrequirements: [torch]\n{REST}")
        code = Spec.from_json(here.store.spec(id_)).code
        assert code == Program(answer["reference"], "train.py", ("torch",), answer["digest"])
        assert str(here.settings.cache_dir) not in here.store.spec(id_)
        # What a worker does with it.
        assert (fetch(here.archive, answer["digest"], tmp_path) / "train.py").read_text() == TRAIN
        resolved = operator.get(f"{EXPERIMENTS}/{id_}/spec").json()["resolved"]
        again = submitted(operator, resolved)
        assert Spec.from_json(here.store.spec(again)).code == code

    def test_a_file_alone_and_the_files_of_a_command(self, operator: httpx.Client, here: Installation) -> None:
        reference = uploaded(operator, {"ridge.py": TRAIN})
        id_ = submitted(operator, f"name: x\nprogram: '{reference}'\n{REST}")
        code = Spec.from_json(here.store.spec(id_)).code
        assert isinstance(code, Program)
        assert code.entry == "ridge.py"
        files = uploaded(operator, {"run.sh": "echo loss=$1\n"})
        id_ = submitted(operator, f"name: x\ncommand: [sh, run.sh, '{{a}}']\nfiles: '{files}'\n{REST}")
        command = Spec.from_json(here.store.spec(id_)).code
        assert command == Command(("sh", "run.sh", "{a}"), "stdout", files, files.removeprefix("upload:"))
        assert submitted(operator, ECHO)

    def test_what_earlier_runs_of_a_program_found_is_taken_over(
        self, operator: httpx.Client, here: Installation
    ) -> None:
        spec = f"name: x\nprogram: '{uploaded(operator, {'train.py': TRAIN})}'\n"
        first = submitted(operator, spec + REST)
        assert carried_out(here.store, first, metric="loss") == 2
        search = "metric: loss\nmethod: evolution\nmax_trials: 3\nparameters: {a: {min: 0, max: 9}}\n"
        started = Spec.from_json(here.store.spec(submitted(operator, f"{spec}{search}start_from: {first}\n")))
        assert started.start_from is not None
        assert started.start_from.sources[0].used == 2
        again = Spec.from_json(here.store.spec(submitted(operator, f"{spec}{REST}reuse: true\nconstraints: [a < 2]\n")))
        assert again.reuse is not None
        assert again.reuse.results == 2

    def test_nothing_of_it_runs_here(self, operator: httpx.Client, tmp_path: Path) -> None:
        mark = tmp_path / "ran"
        run = f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n"
        declared = f"from optml_queue.driver import Parameter\n{run}PARAMETERS = (Parameter('a', float, 1.0),)\n{TRAIN}"
        reference = uploaded(operator, {"train.py": declared, "__init__.py": run, "conftest.py": run})
        spec = f"name: x\nprogram: '{reference}'\n{REST}"
        assert operator.post("/api/v1/validation", content=spec, headers=YAML).status_code == 200
        id_ = submitted(operator, spec)
        assert operator.get(f"/experiments/{id_}", headers={"Accept": "text/html"}).status_code == 200
        longer = spec.replace("[1, 2]", "[1, 2, 3]")
        extended = operator.post(f"{EXPERIMENTS}/{id_}/extend", content=longer, headers=YAML)
        assert extended.status_code == 200, extended.text
        assert not mark.exists()

    def test_another_program_is_no_extension(self, operator: httpx.Client) -> None:
        one, other = (uploaded(operator, {"train.py": TRAIN + f"# {n}\n"}) for n in (1, 2))
        id_ = submitted(operator, f"name: x\nprogram: '{one}'\n{REST}")
        spec = f"name: x\nprogram: '{other}'\n{REST.replace('[1, 2]', '[1, 2, 3]')}"
        refused = operator.post(f"{EXPERIMENTS}/{id_}/extend", content=spec, headers=YAML)
        assert refused.status_code == 422
        assert "program: is" in refused.json()["detail"]

    @pytest.mark.parametrize(
        "code",
        [
            "program: /etc/passwd",
            "program: ../x.py",
            "program: .",
            "program: [upload]",
            "program: 'upload:../../etc'",
            f"program: 'upload:{'0' * 64}/../x'",
            "program: 's3://bucket/x.py'",
            "command: [sh, x]\nfiles: /etc",
            "<<: {program: /etc/passwd}",
        ],
    )
    def test_no_local_code_is_packed(self, operator: httpx.Client, here: Installation, code: str) -> None:
        found = problems(operator, f"name: x\n{code}\n{REST}")
        assert "passwd" not in str(found)
        assert any("your machine" in message for _, message in found) or "<<" in code
        assert not list(here.archive.keys("programs"))

    def test_what_is_no_program_is_said_without_the_servers_places(
        self, operator: httpx.Client, here: Installation
    ) -> None:
        assert problems(operator, f"name: x\nprogram: 'upload:{'0' * 64}'\n{REST}") == [("program", "no such upload")]
        wrong = {
            "the folder has no driver.py and no train.py": {"a.py": "", "b.py": ""},
            "train.py:1: invalid syntax": {"train.py": "def ("},
            "must be a function train(trial)": {"train.py": "x = 1"},
            "a program is a Python file": {"notes.txt": "x"},
        }
        for said, files in wrong.items():
            reference = uploaded(operator, files)
            ((key, message),) = problems(operator, f"name: x\nprogram: '{reference}'\n{REST}")
            assert key == "program"
            assert said in message
            assert reference in message
            assert str(here.settings.cache_dir) not in message

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            (b"", "empty"),
            (b"PK\x03\x04", "not a pack"),
            (b"\x1f\x8b\x08" + b"x" * 600, "not a pack"),
            (tar_of({}), "empty"),
            (tar_of({".env": "x"}), "empty"),
            (tar_of({"../evil": "x"}), "no plain file inside it"),
            (tar_of({"/etc/evil": "x"}), "no plain file inside it"),
            (tar_of({"a": "x", "a/b": "y"}), "twice"),
            (tar_of({"n" * 300: "x"}), "too long"),
        ],
    )
    def test_packs_that_are_none(self, operator: httpx.Client, here: Installation, body: bytes, said: str) -> None:
        response = operator.post(PROGRAMS, content=body)
        assert response.status_code == 422
        assert said in response.json()["detail"]
        assert "/tmp" not in response.json()["detail"]  # noqa: S108
        assert not list(here.archive.keys("programs"))

    def test_links_and_too_much_are_refused(self, operator: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
        body = io.BytesIO()
        with tarfile.open(fileobj=body, mode="w") as archive:
            link = tarfile.TarInfo("train.py")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(link)
        assert "no plain file" in operator.post(PROGRAMS, content=body.getvalue()).json()["detail"]
        assert operator.post(PROGRAMS, content=b"x" * (2 << 20 | 1)).status_code == 413
        monkeypatch.setattr(pack, "MAX_BYTES", 10)
        assert "more than a pack may" in operator.post(PROGRAMS, content=tar_of({"a": "x" * 11})).json()["detail"]

    def test_an_upload_of_data_is_no_program(self, operator: httpx.Client) -> None:
        reference = operator.post("/api/v1/data", content=tar_of({"train.py": TRAIN})).json()["reference"]
        assert problems(operator, f"name: x\nprogram: '{reference}'\n{REST}") == [("program", "no such upload")]
        program = uploaded(operator, {"train.py": TRAIN})
        data = SPEC.replace("sunspots", json.dumps({"csv": program, "column": 0}))
        assert problems(operator, data) == [("data.csv", "no such upload")]
