"""The one exception a user's mistake raises, and how a program ends on it: one line on stderr instead of a traceback."""

from __future__ import annotations

import errno
import io
import sys
from collections.abc import Callable


class CourseError(ValueError):
    """Something the user can put right: the message names the file or parameter, what was expected and what to do."""


def exit_code(work: Callable[[], object]) -> int:
    """Do a program's work: 0, or 2 after one line on stderr where the user can put right what went wrong.

    Characters that the output's encoding lacks (a class name in Chinese, in a file of cp1252) are written as escapes.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # "?" would make three classes one
    try:
        work()
        return 0
    except CourseError as error:
        message = str(error)
    except OSError as error:
        if error.errno == errno.ENOSPC and error.filename is None:
            message = "a disk is full, the output's or that of temporary files. Make room and give the command again."
        elif error.filename is None or error.strerror is None:
            raise
        else:
            message = f"{error.filename}: {error.strerror}"
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2
