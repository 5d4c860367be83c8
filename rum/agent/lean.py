"""What the agent does without, because it would hold memory in the guest for ever."""

from __future__ import annotations

import sys

BUILT_IN = (
    "_md5",
    "_sha1",
    "_sha3",
    "_blake2",
    *(("_sha2",) if sys.version_info >= (3, 12) else ("_sha256", "_sha512")),
)
"""Where OpenSSL is not there, hashlib takes its hashes from these."""


def leave_out_openssl() -> None:
    """Have hashlib and hmac do without OpenSSL, whose library takes 3 MiB, where this Python has hashes of its own.

    To be called before either of them is imported.
    """
    try:
        for name in BUILT_IN:
            __import__(name)
    except ImportError:
        # Some distributions build Python without them.
        return
    sys.modules["_hashlib"] = None  # type: ignore[assignment]
