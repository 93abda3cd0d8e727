"""What the workers' processes log: text that a terminal, or who reads the file, cannot be deceived by."""

from __future__ import annotations

import logging


class LogLine(logging.Formatter):
    """One line an event, and a traceback below it. What is not printable is escaped: much of it comes from outside."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 — the name that logging calls
        """The line."""
        return escaped(super().formatMessage(record))

    def formatException(self, ei: object) -> str:  # noqa: N802
        """The traceback, in lines of its own."""
        return escaped(super().formatException(ei), keep="\n")  # type: ignore[arg-type]  # what logging passes


def escaped(text: str, keep: str = "") -> str:
    """The text with control characters, line ends and terminal escapes written out, as in \\x1b; `keep` stays."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter in keep else letter.encode("unicode_escape").decode()
        for letter in text
    )
