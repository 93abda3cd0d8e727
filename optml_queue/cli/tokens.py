"""`optml token`: who may use the API and the page."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Annotated

import typer

from optml_queue.cli import options, units
from optml_queue.errors import InputError

FOREVER = "never"


class Role(StrEnum):
    """What a token is good for; the store has the same."""

    VIEWER = "viewer"
    OPERATOR = "operator"


def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is; it stands in the log with what it did.")],
    role: Annotated[
        Role, typer.Option("--role", help="A viewer may look at everything, and change nothing.")
    ] = Role.VIEWER,
    expires: Annotated[
        str, typer.Option("--expires", metavar="DURATION", help="As in 12h or 30d; [bold]never[/bold].")
    ] = "90d",
    as_json: options.Json = False,
    results: options.Results = None,
) -> None:
    """Make a token and print it. It is shown this once: only its hash is kept.

    Examples
      optml token create alice --role operator
      optml token create grafana --expires never
    """
    from optml_queue.cli.connection import steering
    from optml_queue.cli.terminal import say, show, show_json
    from optml_queue.store import tokens

    lifetime_s = _lifetime_s(expires)
    with steering(results) as connection:
        text, token = tokens.Tokens(connection.store).create(name, tokens.Role(role), lifetime_s)
    if as_json:
        show_json({"token": text, "id": token.id, "name": name, "role": token.role, "expires_at": token.expires_at})
        return
    show(text)
    say(f"a token for {name} ({token.role}), {_until(token.expires_at)}. It is not shown again.")


def ls(as_json: options.Json = False, results: options.Results = None) -> None:
    """List the tokens, without what they open with.

    Examples
      optml token ls
    """
    from optml_queue.cli.connection import steering
    from optml_queue.cli.terminal import show, show_json
    from optml_queue.store.tokens import Tokens

    with steering(results) as connection:
        found = Tokens(connection.store).all()
    if as_json:
        keys = ("id", "name", "role", "created_at", "expires_at")
        show_json([{key: getattr(token, key) for key in keys} for token in found])
    elif found:
        show(*(f"{token.id}  {token.role:<8}  {token.name}  {_until(token.expires_at)}" for token in found))
    else:
        show("no tokens yet; optml token create NAME makes one")


def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A token's name or id.")],
    as_json: options.Json = False,
    results: options.Results = None,
) -> None:
    """Take a token back. It opens nothing from now on, and who signed in with it is signed out.

    Examples
      optml token revoke alice
    """
    from optml_queue.cli.connection import steering
    from optml_queue.cli.terminal import show, show_json
    from optml_queue.store.tokens import Tokens

    with steering(results) as connection:
        token = Tokens(connection.store).revoke(name)
    if as_json:
        show_json({"revoked": token.id, "name": token.name})
    else:
        show(f"revoked the token of {token.name}")


TOKEN_VERBS = (("create", create), ("ls", ls), ("revoke", revoke))


def _lifetime_s(text: str) -> float | None:
    from optml_queue.spec.duration import duration_s

    if text == FOREVER:
        return None
    try:
        return duration_s(text)
    except ValueError as error:
        raise InputError(f"--expires: {error}, got {text!r}; write 12h, 30d or {FOREVER}") from None


def _until(expires_at: float | None) -> str:
    if expires_at is None:
        return "does not expire"
    return f"{'expired' if expires_at <= time.time() else 'expires'} {units.local_time(expires_at)}"
