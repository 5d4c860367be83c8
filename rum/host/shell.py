"""`rum shell`: the login shell of an account in the guest, at a terminal or with a script as its input."""

from __future__ import annotations

from rum.host.exec import ExecRequest

LOGIN = 'unset DEBIAN_FRONTEND PYTHONUNBUFFERED; cd; exec "$SHELL" -l'
"""What a script's environment has so that nothing asks or is held back is wrong for a person, who can be asked."""


def login(user: str) -> ExecRequest:
    """The user's login shell, in their home. The agent has set HOME, USER, LOGNAME and SHELL as login(1) would."""
    return ExecRequest(["sh", "-c", LOGIN], user=user)
