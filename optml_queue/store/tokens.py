"""Who may use the installation over the network: bearer tokens and sessions, kept as hashes.

A token is 32 random bytes, so a plain SHA-256 is enough to keep it by: nobody can try 2^256 of them, and a slow hash,
which passwords need because people choose them, would only make each request slow.

    optml:tokens             hash    token's id → JSON: name, role, hash, created and expiry (s since the epoch)
    optml:session:<hash>     string  the id of the token that signed in; lives for SESSION_S
    optml:rate:<who>         hash    a token bucket: what is left, and when (ms)
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from optml_queue.errors import InputError, NotFoundError
from optml_queue.store.scripts import source
from optml_queue.store.store import ROOT, Store

SESSION_S = 12 * 3600
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_TOKEN = re.compile(r"optml_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")


class Role(StrEnum):
    """What a token is good for."""

    VIEWER = "viewer"  # may look at everything, and change nothing
    OPERATOR = "operator"

    def covers(self, needed: Role) -> bool:
        """Whether this role may do what `needed` may."""
        return self is Role.OPERATOR or needed is Role.VIEWER


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is listed; what it opens with is known to its owner alone. Times: seconds since the epoch, UTC."""

    id: str
    name: str
    role: Role
    created_at: float
    expires_at: float | None = None

    def is_valid_at(self, now: float) -> bool:
        return self.expires_at is None or now < self.expires_at


class Tokens:
    """The tokens and sessions of an installation."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._key = f"{ROOT}:tokens"

    def create(self, name: str, role: Role, lifetime_s: float | None = None) -> tuple[str, Token]:
        """A new token: the text that its owner shows, which is not kept, and how it is listed. Raises InputError."""
        if not _NAME.fullmatch(name):
            raise InputError(f"a token's name must be up to 63 letters, digits, -, _ and ., got {name[:80]!r}")
        if any(token.name == name for token in self.all()):
            raise InputError(f"there is a token {name!r} already; choose another name, or revoke that one first")
        id_ = secrets.token_hex(6)
        text = f"optml_{id_}_{secrets.token_urlsafe(32)}"
        now = self._now()
        token = Token(id_, name, role, now, None if lifetime_s is None else now + lifetime_s)
        record = {**asdict(token), "hash": _hash(text)}
        with self._store._reaching():
            self._store.client.hset(self._key, id_, json.dumps(record))
        return text, token

    def all(self) -> list[Token]:
        """All tokens, expired ones too, the oldest first."""
        with self._store._reaching():
            records = self._store.client.hvals(self._key)
        return sorted((_token(json.loads(record)) for record in records), key=lambda token: token.created_at)

    def any_valid(self) -> bool:
        """Whether anybody at all may come in."""
        now = self._now()
        return any(token.is_valid_at(now) for token in self.all())

    def revoke(self, name: str) -> Token:
        """Forget the token of that name or id; its sessions end with it. Raises NotFoundError."""
        for token in self.all():
            if name in (token.name, token.id):
                with self._store._reaching():
                    self._store.client.hdel(self._key, token.id)
                return token
        raise NotFoundError(f"there is no token {name[:80]!r}; `optml token ls` shows those there are")

    def of(self, text: str) -> Token | None:
        """The valid token that somebody showed; None for anything else."""
        match = _TOKEN.fullmatch(text)
        record = self._record(match[1]) if match else None
        # Compared in constant time: how long a refusal takes tells nothing of the hash.
        if record is None or not hmac.compare_digest(record["hash"], _hash(text)):
            return None
        return self._valid(record)

    # Sessions: what the page's cookie stands for

    def open_session(self, token: Token) -> str:
        """The text of a new session of a token; it is not kept."""
        text = secrets.token_urlsafe(32)
        with self._store._reaching():
            self._store.client.set(_session_key(text), token.id, ex=SESSION_S)
        return text

    def of_session(self, text: str) -> Token | None:
        """The valid token that opened a session; None when there is no such session, or the token was revoked."""
        with self._store._reaching():
            id_ = self._store.client.get(_session_key(text))
        record = self._record(id_) if id_ else None
        return None if record is None else self._valid(record)

    def close_session(self, text: str) -> None:
        """End a session."""
        with self._store._reaching():
            self._store.client.delete(_session_key(text))

    # Rates

    def admit(self, who: str, per_minute: float) -> float:
        """Take one request of `who` out of a bucket of 10 s' worth; seconds to wait when it is empty, else 0."""
        with self._store._reaching():
            return float(self._admit(keys=[f"{ROOT}:rate:{who}"], args=[per_minute]))

    @cached_property
    def _admit(self) -> Any:
        return self._store.client.register_script(source("admit"))

    def _record(self, id_: str) -> dict[str, Any] | None:
        with self._store._reaching():
            record = self._store.client.hget(self._key, id_)
        return None if record is None else json.loads(record)

    def _valid(self, record: Mapping[str, Any]) -> Token | None:
        token = _token(record)
        return token if token.expires_at is None or token.is_valid_at(self._now()) else None

    def _now(self) -> float:
        return self._store._now_ms() / 1000


def _token(record: Mapping[str, Any]) -> Token:
    return Token(record["id"], record["name"], Role(record["role"]), record["created_at"], record["expires_at"])


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _session_key(text: str) -> str:
    return f"{ROOT}:session:{_hash(text)}"
