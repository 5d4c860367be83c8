"""Every limit of the protocol with the reason for its value.

Sizes are in bytes, times in seconds.
"""

from __future__ import annotations

PROTOCOL_VERSION = 1

AGENT_PORT = 2222
"""The guest's AF_VSOCK port; outside the privileged range, so that nothing depends on who may bind below 1024."""

HOST_CID = 2
"""VMADDR_CID_HOST: a guest-local process cannot forge it, so the agent serves nobody else (vsock(7))."""

MESSAGE_MAX = 16 * 1024 * 1024
"""One `provision` request carries every script; 16 scripts of 1 MiB fit, an endless one does not."""

CHUNK_MAX = 64 * 1024
"""Payload of the byte-carrying kinds: a pipe's default capacity, so one full pipe is one frame at most."""

SEND_MAX = 16 * 1024
"""No single send() is larger: vhost-device-vsock 0.3.0 silently loses what a newer guest kernel (6.12, 6.17) spreads
over several descriptors, which starts above 32 KiB. Half of that leaves room for other implementations."""

OUTPUT_CHUNK = 4 * SEND_MAX - 13
"""Data bytes of the largest output frame: nearly all that a pipe holds. With its header of 5 bytes and its timestamp
of 8 it is four whole sends, and costs no fifth one for the rest."""

COALESCE_S = 0.020
"""How long small output is gathered: one frame per write() overflows the receive queue of kernels since 6.12.92."""

LARGE_MESSAGE = 64 * 1024
"""A message over this is not held in the agent's memory, which has to stay small in a guest of 128 MiB."""

EXEC_MAX = 4 * 1024 * 1024
"""An `exec` request: Linux takes 2 MiB of arguments and environment (execve(2)), for which JSON may need more bytes."""

LONG_STRING = 256
"""Of a large message, strings over this are set aside in a file: a thousand scripts then leave a quarter of a MiB."""

SKELETON_MAX = 1024 * 1024
"""What a large message may have beside its long strings: a thousand scripts with short texts."""

STRUCTURE_MAX = 50_000
"""Elements of a large message: each takes some hundred bytes once parsed. A thousand scripts make 20 000 of them."""

NESTING_MAX = 64
"""Arrays and objects within each other: no message needs ten, and what walks one must not run out of stack."""

DIGITS_MAX = 40
"""Of an integer, more than any field holds: reading one of a million digits takes an older Python many seconds."""

STRING_MAX = 2 * 1024 * 1024
"""One string as it is spelled in JSON, so also the longest script: two copies are in memory while it is stored."""

NONCE_SIZE = 32
"""Both sides' nonces are as long as the hash, so neither can be guessed nor repeats within a VM's life."""

KEY_SIZE = 32
"""HMAC-SHA256 gains nothing from a longer key (RFC 2104, section 3)."""

HANDSHAKE_TIMEOUT_S = 5.0
"""From accept to the host's proof: several seconds of a stalled emulated guest are normal, more is an attacker."""

REQUEST_TIMEOUT_S = 10.0
"""From the agent's welcome to the host's request: the host has everything at hand when it connects."""

ACK_TIMEOUT_S = 10.0
"""From the agent's result to the host's ack or EOF: data sent just before a close may be lost, so the agent lingers."""

UNAUTHENTICATED_MAX = 64
"""Connections that have not proved themselves; one more closes the oldest, so that silence cannot lock rum out."""

HEARTBEAT_S = 5.0
"""The agent speaks at least this often while a request is open: a reset guest leaves the host's socket half-open."""

PEER_LOST_S = 15.0
"""Three heartbeats: a host that hears nothing for so long treats the agent as lost."""

SCRIPTS_MAX = 1000
"""Scripts in one list: far above any real one, low enough that the cache directory stays quick to read."""

RECORD_MAX = 64 * 1024 * 1024
"""A run's record: ten of them fit a small root disk, and no human log is longer."""

RECORD_TAIL = 64 * 1024
"""What is kept of a script's last output once the record is full: the end is where the error stands."""

RECORDS_KEPT = 10
"""Runs kept in the guest."""

PORTS_MAX = 4096
"""Ports in one list: far more than anything forwards, in a message that is small enough to be read as a whole."""

KILL_AFTER_S = 5.0
"""From SIGTERM to SIGKILL, for a script that is cancelled or out of time."""

STRAGGLER_S = 1.0
"""How long output is still waited for after a script's main process has ended, while something holds its pipe."""

TIMEOUT_MAX_S = 315_360_000.0
"""Ten years, for whoever means for ever: what is larger is a slip, and the sum with a clock need not be a time."""

WAIT_MAX_S = 300.0
"""A script's `after` target is waited for at most so long, then the script runs with a warning."""

SYNC_MAX_S = 300.0
"""How long the disks may take to store what a System script has written: gigabytes on a slow disk, not a broken one."""

STDIN_UNASKED = 128 * 1024
"""What a host sends of a command's input before it knows how much the agent has room for."""

STDIN_WINDOW = 128 * 1024
"""What an agent has room for besides: as much as is on its way while the command reads the other half."""

STALLED_CLIENT_S = 60.0
"""A client that has taken no byte for so long while bytes were waiting is closed; the run goes on without it."""
