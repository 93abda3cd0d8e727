"""What a message can make a line of the workers' log look like."""

import logging
import sys

from optml_queue.worker.log_line import LogLine, escaped

FORGED = "e\r\n2026-01-01 WARNING control: all is well\x1b[2J\x00\x9b"


def line(message: str, *, raised: bool = False) -> str:
    try:
        raise ValueError(message)
    except ValueError:
        error = sys.exc_info() if raised else None
    record = logging.LogRecord("x", logging.WARNING, __file__, 1, "found %s", (message,), error)
    return LogLine("%(levelname)s: %(message)s").format(record)


def test_a_message_from_outside_stays_one_line_and_moves_no_cursor() -> None:
    told = line(FORGED)
    assert told.isprintable()
    assert told == "WARNING: found e\\r\\n2026-01-01 WARNING control: all is well\\x1b[2J\\x00\\x9b"


def test_a_traceback_keeps_its_lines_and_nothing_else() -> None:
    told = line(FORGED, raised=True)
    assert "\nTraceback (most recent call last):\n" in told
    assert all(each.isprintable() for each in told.split("\n"))


def test_letters_of_any_language_stay() -> None:
    assert escaped("größer 试验") == "größer 试验"
