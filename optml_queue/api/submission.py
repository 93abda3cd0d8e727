"""A spec that arrives over the network: read by the rules of the command line, and by stricter ones.

The command line reads files of the person who types. Here somebody else's request would read files of the server:
so nothing local may be named, whatever the token. Data are uploaded first, or lie below a configured s3:// prefix.
Programs, and files of commands, are uploaded as packs, and nothing of them ever runs in this process.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from optml_queue.api.installation import Installation
from optml_queue.api.problems import ApiError
from optml_queue.archive import program
from optml_queue.archive.dataset import download, fetch
from optml_queue.data import SHIPPED, DataSpec
from optml_queue.errors import ArchiveError, DataError, Problem, SpecError
from optml_queue.spec import Code, Command, Program, Spec, parse_spec
from optml_queue.spec.document import MAX_DEPTH, DocumentError, Node, compose, decode, dump
from optml_queue.store.tokens import Role

SOURCE = "spec"
UPLOAD = "upload:"  # data: {csv: "upload:<sha256>"} names what was uploaded
YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml", "text/plain")
# A folder that never exists: relative paths in a spec lead nowhere.
NOWHERE = Path("/nonexistent/optml-queue")
_PATH_KEYS = ("csv", "npz", "path")
_PACK_KEYS = ("program", "files")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_REFERENCE = re.compile(rf"{UPLOAD}({_DIGEST.pattern})")
NOT_ALLOWED = "is not allowed here: OPTML_ALLOW_PROGRAMS is not true for this installation's API"


@dataclass(frozen=True, slots=True)
class Sent:
    """The body of a request that holds a spec, as YAML. `has_lines` is False for JSON, whose lines are not kept."""

    text: str
    has_lines: bool


async def sent_spec(request: Request) -> Sent:
    """The spec in a request's body, in YAML or JSON. Raises SpecError, ApiError."""
    media_type = request.headers.get("content-type", "application/yaml").partition(";")[0].strip().lower()
    body = await request.body()
    try:
        text = decode(body)
    except DocumentError as error:
        raise SpecError(SOURCE, [error.problem]) from None
    if media_type in YAML_TYPES:
        return Sent(text, has_lines=True)
    if media_type == "application/json":
        return Sent(await run_in_threadpool(_yaml_of, text), has_lines=False)
    raise ApiError(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        f"a spec is YAML (application/yaml) or JSON (application/json), got {media_type[:80]!r}",
        {"Accept": "application/yaml, application/json"},
    )


SpecBody = Annotated[Sent, Depends(sent_spec)]


def _yaml_of(text: str) -> str:
    try:
        content = json.loads(text, object_pairs_hook=_without_repeats)
        _check_depth(content)
        return dump(content)
    except RecursionError:
        problem = Problem("", f"nested more than {MAX_DEPTH} deep")
    except _RepeatedKeyError as error:
        problem = Problem(str(error), "the key comes twice", 0, "keep one of them")
    except ValueError as error:
        problem = Problem("", f"not JSON: {error}"[:300])
    raise SpecError(SOURCE, [problem])


class _RepeatedKeyError(Exception):
    pass


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for key, value in pairs:
        if key in entries:
            raise _RepeatedKeyError(key[:60])
        entries[key] = value
    return entries


def _check_depth(content: Any, depth: int = 0) -> None:
    if depth > MAX_DEPTH:
        raise RecursionError
    for item in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        _check_depth(item, depth + 1)


# Reading


def read_spec(sent: Sent, here: Installation, role: Role) -> Spec:
    """The spec, with its data at hand. Raises SpecError with every problem, DataError, UnreachableError."""
    try:
        root, _ = compose(sent.text)
    except DocumentError as error:
        raise _without_lines(SpecError(SOURCE, [error.problem]), sent) from None
    entries: Mapping[str, Node] = root.value if isinstance(root.value, dict) else {}
    if problems := [*_code_problems(entries, here, role), *_data_problems(entries, here)]:
        raise _without_lines(SpecError(SOURCE, problems), sent)
    files = [*_uploads(entries, here), *_packs(entries, here)]
    try:
        places = [f"{key}={json.dumps(str(path))}" for key, path in files]
        spec = parse_spec(sent.text, SOURCE, NOWHERE, places, programs_run=False)
        spec = replace(spec, text=sent.text, code=_by_digest(spec.code, entries))
        return _with_data(spec, entries, here) if spec.data is not None else spec
    except SpecError as error:
        raise _without_lines(_without_places(error, files), sent) from None


@contextmanager
def told_of(sent: Sent) -> Iterator[None]:
    """What turns out to be wrong with a spec after it was read is told with lines of what was sent, if it has any."""
    try:
        yield
    except SpecError as error:
        raise _without_lines(error, sent) from None


def _without_lines(error: SpecError, sent: Sent) -> SpecError:
    if sent.has_lines:
        return error
    return SpecError(error.source, [replace(problem, line=0) for problem in error.problems])


def _without_places(error: SpecError, files: Sequence[tuple[str, Path]]) -> SpecError:
    """Where an upload lies on the server is nobody's business."""
    problems = error.problems
    for _key, path in files:
        # Of a pack with one file it is the file that is named.
        folder = path if _DIGEST.fullmatch(path.name) else path.parent
        place, reference = str(folder), f"{UPLOAD}{folder.name}"
        problems = tuple(replace(p, message=p.message.replace(place, reference)) for p in problems)
    return SpecError(error.source, problems)


# Code


def _code_problems(entries: Mapping[str, Node], here: Installation, role: Role) -> list[Problem]:
    keys = [key for key in ("program", "command", "files") if key in entries]
    if not here.settings.allow_programs:
        advice = "use an algorithm of the catalogue"
        return [Problem(key, NOT_ALLOWED, entries[key].line, advice) for key in keys]
    if role is not Role.OPERATOR:
        return [Problem(key, "is for operators; this token is a viewer's", entries[key].line) for key in keys]
    return [
        Problem(
            key,
            "names files of your machine, which a request does not bring along",
            entries[key].line,
            'upload them first (POST /api/v1/programs), then write "upload:DIGEST"; or use optml-submit there',
        )
        for key in _PACK_KEYS
        if key in entries and _pack_digest(entries, key) is None
    ]


def _pack_digest(entries: Mapping[str, Node], key: str) -> str | None:
    """The digest of the pack that a key names, if it names one."""
    node = entries.get(key)
    match = _REFERENCE.fullmatch(node.value) if node is not None and isinstance(node.value, str) else None
    return match and match[1]


def _packs(entries: Mapping[str, Node], here: Installation) -> list[tuple[str, Path]]:
    """The uploaded packs that a spec names, unpacked here: their keys, and where their files lie now."""
    found = []
    for key in _PACK_KEYS:
        if (digest := _pack_digest(entries, key)) is None:
            continue
        try:
            folder = program.fetch(here.archive, digest, here.settings.cache_dir)
        except ArchiveError:
            message = "no such upload"
            advice = "upload the files first: POST /api/v1/programs"
            raise SpecError(SOURCE, [Problem(key, message, entries[key].line, advice)]) from None
        found.append((key, _only_file(folder) if key == "program" else folder))
    return found


def _only_file(folder: Path) -> Path:
    """The file of a pack that holds nothing else, else the folder: either may be a program."""
    first, *others = islice(folder.iterdir(), 2)
    return folder if others or first.is_dir() else first


def _by_digest(code: Code, entries: Mapping[str, Node]) -> Code:
    """The code with its pack's digest for a place: the spec is the same wherever it is read."""
    for key in _PACK_KEYS:
        if (digest := _pack_digest(entries, key)) is None:
            continue
        if isinstance(code, Program):
            return replace(code, path=f"{UPLOAD}{digest}", digest=digest)
        if isinstance(code, Command):
            return replace(code, files=f"{UPLOAD}{digest}", digest=digest)
    return code


# Data


def _data_entries(entries: Mapping[str, Node]) -> Mapping[str, Node]:
    data = entries.get("data")
    return data.value if data is not None and isinstance(data.value, dict) else {}


def _paths(entries: Mapping[str, Node]) -> list[tuple[str, Node, str]]:
    data = _data_entries(entries)
    named = ((key, data[key]) for key in _PATH_KEYS if key in data)
    return [(key, node, node.value) for key, node in named if isinstance(node.value, str)]


def _data_problems(entries: Mapping[str, Node], here: Installation) -> list[Problem]:
    problems = []
    for key, node, text in _paths(entries):
        if _REFERENCE.fullmatch(text):
            continue
        if not text.startswith("s3://"):
            message = "must be an uploaded file or an s3:// address: files of the server are not read"
            advice = 'upload it first (POST /api/v1/data), then write "upload:DIGEST"'
            problems.append(Problem(f"data.{key}", message, node.line, advice))
        elif not is_below(text, here.settings.s3_prefixes):
            allowed = ", ".join(here.settings.s3_prefixes)
            advice = f"there is {allowed}" if allowed else "OPTML_API_S3_PREFIXES names none; upload the file instead"
            problems.append(Problem(f"data.{key}", "lies outside of what may be read here", node.line, advice))
    return problems


def is_below(address: str, prefixes: Sequence[str]) -> bool:
    """Whether an s3:// address lies below one of the prefixes, read as S3 does and as a file system would.

    S3 takes `..` for a name; what else may read it, a proxy or a client, might not.
    """
    key = unquote(address.removeprefix("s3://"))
    if key != posixpath.normpath(key) or "\\" in key:
        return False
    return any(address.startswith(prefix) for prefix in prefixes)


def _uploads(entries: Mapping[str, Node], here: Installation) -> list[tuple[str, Path]]:
    """The uploaded files that a spec names, brought here: their keys and where they lie now."""
    found = []
    for key, node, text in _paths(entries):
        if match := _REFERENCE.fullmatch(text):
            try:
                path = fetch(here.archive, match[1], here.settings.cache_dir / "uploads")
            except ArchiveError:
                problem = Problem(
                    f"data.{key}", "no such upload", node.line, "upload the file first: POST /api/v1/data"
                )
                raise SpecError(SOURCE, [problem]) from None
            found.append((f"data.{key}", path))
    return found


def _with_data(spec: Spec, entries: Mapping[str, Node], here: Installation) -> Spec:
    """The spec whose data were read once. Uploaded ones are named by their digest from now on.

    Raises DataError when they cannot be used.
    """
    from functools import partial

    from optml_queue.data import load

    data: DataSpec = spec.data  # type: ignore[assignment]  # the caller looked
    if data.kind in SHIPPED:
        return spec
    cache_dir = here.settings.cache_dir
    reference = next((text for _, _, text in _paths(entries) if text.startswith(UPLOAD)), "")
    try:
        load(data, partial(download, cache_dir=cache_dir), cache_dir)
    except DataError as error:
        path = str(data.options.get("path", ""))
        raise DataError(str(error).replace(path, reference or path)) from None
    if not reference:
        return spec
    digest = reference.removeprefix(UPLOAD)
    return replace(spec, data=replace(data, digest=digest, options={**data.options, "path": reference}))
