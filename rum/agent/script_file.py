"""How a script's file is started: what its first line says, and what is wrong with it that would only be a riddle."""

from __future__ import annotations

from rum.agent.spawn import NOT_EXECUTABLE, NOT_FOUND, StartError, read_first_line

SHELL = "/bin/sh"
"""By its path: a script's own PATH need not have it."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def script_argv(path: str) -> list[str]:
    """What to execute. Raises StartError where the first line cannot work, OSError where there is no file."""
    line = read_first_line(path)
    if line.startswith(BYTE_ORDER_MARK):
        # It hides a #! from the kernel, and sh takes it for a part of the first command's name and goes on.
        raise StartError(
            NOT_EXECUTABLE, "cannot start: the script begins with a byte order mark; save it as UTF-8 without one"
        )
    if not line.startswith(b"#!"):
        return [SHELL, path]
    interpreter = line[2:].strip(b" \t\r").decode("utf-8", "replace")
    if not interpreter:
        raise StartError(NOT_EXECUTABLE, "cannot start: the first line is #! and names no interpreter")
    if line.endswith(b"\r"):
        # The kernel passes the carriage return on: to a file name, or to an option nobody has heard of.
        raise StartError(
            NOT_FOUND,
            f"cannot start: the first line names the interpreter {interpreter} and ends in a carriage return; "
            "save the script with LF line ends instead of CRLF",
        )
    return [path]
