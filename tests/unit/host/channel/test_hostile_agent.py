"""A guest that was broken into: its agent holds the key and speaks the protocol, and means harm.

It cannot make a command hang, grow without bound, write outside its directory, fail with anything but a sentence, or
put control sequences on the user's terminal.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.json_lines import checked
from rum.host import console
from rum.host.channel import client
from rum.host.channel.checked import (
    FIELDS,
    REQUIRED,
    RUN_EVENTS,
    SENTENCE_MAX,
    SUMMARY,
    BrokenProtocolError,
    check_message,
    tcp_ports,
)
from rum.host.runs import guest_runs, provisioning, runreader, runview
from rum.host.runs.finder import ListedRun
from rum.host.runs.guest_runs import summaries_of
from rum.host.runs.run_list import run_fields, run_table
from rum.protocol import Frame, Kind, Message, Received, encode_frame, encode_message
from rum.protocol.limits import CHUNK_MAX, MESSAGE_MAX, SCRIPTS_MAX, STRUCTURE_MAX
from tests.unit.host.channel.hostile_agent import (
    EXITED,
    HEARTBEAT,
    HONEST,
    PASSED,
    RUN,
    SCRIPT_STARTED,
    STARTED,
    STATUS,
    Play,
    Talk,
    hostile_guest,
    nothing_yet,
    output,
    run,
    saying,
)
from tests.unit.host.cli.in_process import UNSAFE, Cli, Ended, rum_here
from tests.unit.host.cli.test_commands import command
from tests.unit.host.local_guest import LocalGuest, wait_until

__all__ = ["rum_here"]

"""What must never reach a terminal: C0 and C1 controls but tab and newline, bidirectional controls."""

NASTY: dict[str, object] = {
    "null": None,
    "true": True,
    "zero": 0,
    "negative": -1,
    "huge": 10**39,
    "fraction": 1.5,
    "most": 1e308,
    "empty": "",
    "nul": "a\0b",
    "newline": "a\nb",
    "escape": "\x1b]52;c;aGk=\x07\x1b[2J",
    "c1": "\x9b31m\x9d0;x\x9c",
    "bidi": "\u202egnp.exe",
    "surrogate": "\udfff",
    "upwards": "../../../../tmp/x",
    "absolute": "/tmp/x",
    "long": "x" * 100_000,
    "array": [],
    "array-of-arrays": [[]],
    "array-of-names": ["../x"],
    "long-array": ["x"] * (SCRIPTS_MAX + 1),
    "object": {},
    "object-of-objects": {"name": {}, "last": [], "run_id": {}},
}


def in_a_run(kind: str, message: Message) -> Play:
    """A run in which this message takes the place of an honest one."""
    events = {"run_started": STARTED, "script_started": SCRIPT_STARTED, "script_exited": EXITED, "result": PASSED}
    if kind not in events:
        return run(message)
    return saying(*(message if key == kind else event for key, event in events.items()))


LISTED: Message = {"run_id": RUN, "running": False, "success": True, "started_us": 1, "trigger": "host"}

BASES: dict[str, Message] = {
    "run_started": STARTED,
    "script_started": SCRIPT_STARTED,
    "script_exited": EXITED,
    "waiting": {"type": "waiting", "for": "cloud-init"},
    "warning": {"type": "warning", "code": "x", "message": "y"},
    "truncated": {"type": "truncated", "name": "one", "bytes": 1},
    "result": PASSED,
    "status": STATUS,
    "error": {"type": "error", "code": "internal", "message": "y"},
    "exec": {"type": "result", "exit_code": 0, "signal": None, "timed_out": False},
    "forward": {"type": "result", "reset": False, "received": 0, "sent": 0},
    "ports": {"type": "ports", "tcp": [22]},
    "runs": {"type": "runs", "runs": [LISTED]},
    "window": {"type": "window", "bytes": 1},
    "welcome": {},
}


def plays_for(kind: str, message: Message) -> tuple[dict[str, Play], Message]:
    """What the agent does, and its welcome, where a message of this kind is this one."""
    if kind == "welcome":
        return {}, message
    if kind == "status":
        return {"status": saying(message)}, {}
    if kind == "exec":
        return {"exec": saying(message)}, {}
    if kind == "window":
        return {"exec": saying(message, BASES["exec"])}, {}
    if kind == "forward":
        return {"forward": saying({"type": "connected"}, message)}, {}
    if kind == "error":
        return {method: saying(message) for method in HONEST}, {}
    play = in_a_run(kind, message)
    return {"provision": play, "attach": play}, {}


def commands_for(kind: str) -> list[list[str]]:
    if kind in ("exec", "window"):
        return [["exec", "--", "true"]]
    if kind == "forward":
        return [["proxy", "22"]]
    return [
        ["up"],
        ["-o", "json", "up"],
        ["logs"],
        ["status"],
        *([["exec", "--", "true"]] * (kind in ("error", "welcome"))),
    ]


CELLS = [(kind, field) for kind, checks in FIELDS.items() for field in checks]


@pytest.mark.parametrize(("kind", "field"), [cell for cell in CELLS if cell[0] not in ("ports", "runs")])
def test_every_field_of_every_message_of_every_wrong_kind(tmp_path: Path, rum_here: Cli, kind: str, field: str) -> None:
    for about, value in NASTY.items():
        plays, greeting = plays_for(kind, {**BASES[kind], field: value})
        with hostile_guest(tmp_path, plays, greeting) as (guest, _):
            arguments = commands_for(kind)[hash_of(about) % len(commands_for(kind))]
            ended = rum_here(guest, *arguments)
        ended.require_clean()
        failed = 125 if arguments[0] == "exec" else 4
        assert ended.status in {0, failed, *MAY_END_WITH.get((kind, field), ())}, (about, ended)
        if "-o" in arguments:
            assert all(json.loads(line) for line in ended.out.splitlines())


MAY_END_WITH = {
    ("exec", "exit_code"): range(256),
    ("exec", "timed_out"): [124],
    ("result", "cancelled"): [130],
    ("result", "success"): [1],
}
"""Exit statuses that are right for some of the values, being no nonsense."""


def hash_of(text: str) -> int:
    """Spreads the cases over the commands, the same way every time."""
    return sum(text.encode())


@pytest.mark.parametrize("field", SUMMARY)
def test_every_field_of_a_listed_run_of_every_wrong_kind(field: str) -> None:
    for value in NASTY.values():
        message: Message = {"type": "runs", "runs": [{**LISTED, field: value}]}
        try:
            [run] = summaries_of(Received(Frame(Kind.MESSAGE, b""), message))
        except BrokenProtocolError:
            continue
        [_, line] = run_table([ListedRun(run, True, False)])
        assert UNSAFE.search(line) is None
        checked(json.dumps(run_fields(ListedRun(run, True, False))))


@pytest.mark.parametrize("value", [*NASTY.values(), [LISTED, {}], [{"run_id": "../x"}]])
def test_a_list_of_runs_that_is_none(tmp_path: Path, rum_here: Cli, value: object) -> None:
    with hostile_guest(tmp_path, {"runs": saying({"type": "runs", "runs": value}, {"type": "result"})}) as (guest, _):
        ended = rum_here(guest, "logs", "--list")
    ended.require_clean()
    assert ended.status == (0 if value == [] else 4)


def test_a_list_of_runs_that_never_ends(tmp_path: Path, rum_here: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_runs, "CALL_PATIENCE_S", 0.2)

    def never(talk: Talk) -> None:
        talk.go_on(BASES["runs"], pause_s=0.01)

    with hostile_guest(tmp_path, {"runs": never}) as (guest, _):
        ended = rum_here(guest, "logs", "--list")
    ended.require_clean()
    assert (ended.status, "has not answered within" in ended.err) == (4, True)


@pytest.mark.parametrize("value", NASTY.values(), ids=NASTY)
def test_ports_of_every_wrong_kind(value: object) -> None:
    """Read by the process behind the ports and by `rum ssh`, which asks again until sshd is there."""
    message = {"type": "ports", "tcp": value}
    if value == []:
        assert tcp_ports(message) == []
    else:
        with pytest.raises(BrokenProtocolError, match="the agent broke the protocol: ports: "):
            tcp_ports(message)


@pytest.mark.parametrize(("kind", "field"), CELLS)
def test_a_wrong_type_is_one_sentence_that_names_the_field(kind: str, field: str) -> None:
    with pytest.raises(BrokenProtocolError) as caught:
        check_message(kind, {**BASES[kind], field: [[]] if field != "scripts" else 1})
    assert str(caught.value).startswith(f"the agent broke the protocol: {kind}: ")
    assert field in str(caught.value) or kind == "status"
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(("kind", "field"), REQUIRED.items())
def test_what_a_message_cannot_do_without(kind: str, field: str) -> None:
    message = {key: value for key, value in BASES[kind].items() if key != field}
    with pytest.raises(BrokenProtocolError, match=f"{field} is missing"):
        check_message(kind, message)


@pytest.mark.parametrize("kind", BASES)
def test_what_is_honest_passes_also_with_less_and_with_more(kind: str) -> None:
    least = {key: value for key, value in BASES[kind].items() if key == REQUIRED.get(kind)}
    for message in (BASES[kind], least, {**BASES[kind], "later": {"x": [1]}}):
        check_message(kind, message)


@pytest.mark.parametrize("arguments", [["up"], ["provision", "--all"], ["-o", "json", "up"]])
def test_a_malformed_result_is_exit_4_and_one_sentence(tmp_path: Path, rum_here: Cli, arguments: list[str]) -> None:
    with hostile_guest(tmp_path, {"provision": run(result={**PASSED, "ran": {"a": 1}})}) as (guest, _):
        ended = rum_here(guest, *arguments)
    assert ended.status == 4
    first, _hint = ended.err.splitlines()
    assert first == "rum: the agent broke the protocol: result: ran must be an array, not an object"


TROUBLE = (
    "\x1b[2J\x1b[1;1H\x1b]0;title\x07\x1b]52;c;aGk=\x1b\\\x1b]8;;http://x\x07link\x1b]8;;\x07"
    "\x1bP+q\x1b\\\x1b_x\x1b\\\x1bc\x9b2J\x9d0;x\x9c\x07\x08\x0b\x0c\x0e\x7f\x85\u202eevil\u2066x\u2069\u2028y\x1b[8mhidden\x1b["
)


def troubled() -> dict[str, Play]:
    """An agent that puts trouble wherever text of its own choice is let through."""
    warning = {"type": "warning", "code": "x", "message": TROUBLE}
    pieces = [
        output(piece.encode(errors="surrogatepass")) for piece in (TROUBLE, TROUBLE + "\n", "ok\rno\x1b", "[31m\n")
    ]
    errors = [output(bytes(range(256)), Kind.STDERR), output(b"\n", Kind.STDERR)]
    failed = {**EXITED, "exit_code": 3}
    result = {**PASSED, "success": False, "failed_script": "one", "exit_code": 3}
    unknown = {"type": "\x1b]0;x\x07", "name": TROUBLE}
    play = saying(STARTED, SCRIPT_STARTED, warning, unknown, *pieces, *errors, failed, result)

    def attach(talk: Talk) -> None:
        (nothing_yet if talk.request["params"]["run_id"] is None else play)(talk)

    return {"provision": play, "attach": attach}


@pytest.mark.parametrize("arguments", [["up"], ["-v", "up"], ["-q", "up"], ["logs", "--run", RUN], ["status"]])
def test_nothing_reaches_the_terminal_but_text(tmp_path: Path, rum_here: Cli, arguments: list[str]) -> None:
    with hostile_guest(tmp_path, troubled()) as (guest, _):
        ended = rum_here(guest, *arguments)
        ended.require_clean()
        again = rum_here(guest, "logs")
        again.require_clean()
    if arguments == ["up"]:
        assert ended.status == 1
        assert "one | " in ended.out
        assert "evil" in ended.out


def test_json_is_ascii_and_says_what_was_printed(tmp_path: Path, rum_here: Cli) -> None:
    """A program gets the text as it was, in a spelling that no terminal minds."""
    with hostile_guest(tmp_path, troubled()) as (guest, _):
        ended = rum_here(guest, "-o", "json", "up")
    ended.require_clean()
    assert ended.out.isascii()
    lines = [json.loads(line) for line in ended.out.splitlines()]
    text = "".join(line["text"] for line in lines if line["type"] == "output" and line["stream"] == "stdout")
    assert text == TROUBLE + TROUBLE + "\nok\rno\x1b[31m\n"
    assert {line["type"] for line in lines} <= {*RUN_EVENTS, "output", "phase", "notice", "done"}


@pytest.mark.parametrize("forged", ["done", "phase", "notice", "output", "console"])
def test_an_agent_cannot_speak_for_rum(tmp_path: Path, rum_here: Cli, forged: str) -> None:
    lie = {"type": forged, "ok": True, "exit": 0, "text": "lie", "status": "lie"}
    failed = {**PASSED, "success": False, "failed_script": "one", "exit_code": 3}
    with hostile_guest(tmp_path, {"provision": run(lie, result=failed)}) as (guest, _):
        ended = rum_here(guest, "-o", "json", "up")
        assert "lie" not in rum_here(guest, "-o", "json", "logs").out
    assert ended.status == 1
    assert "lie" not in ended.out
    lines = [json.loads(line) for line in ended.out.splitlines()]
    assert [line["ok"] for line in lines if line["type"] == "done"] == [False]


def test_what_the_agent_refuses_with_is_shortened_and_cleaned(tmp_path: Path, rum_here: Cli) -> None:
    refusal = {"type": "error", "code": "internal", "message": "\x1b[2J" + "x" * 1_000_000}
    with hostile_guest(tmp_path, {"provision": saying(refusal)}) as (guest, _):
        ended = rum_here(guest, "up")
    ended.require_clean()
    assert ended.status == 4
    assert len(ended.err) < SENTENCE_MAX + 100


def test_the_consoles_end_is_text_too(tmp_path: Path, rum_here: Cli) -> None:
    with hostile_guest(tmp_path, greeting={"vm_id": "another"}) as (guest, _):
        guest.paths.console_log.write_bytes(b"\x1b]0;x\x07Kernel panic - not syncing: \x9b2J\x1b[31m\xe2\x80\xaeno\n")
        ended = rum_here(guest, "up")
    ended.require_clean()
    assert ended.status == 4


@pytest.mark.parametrize(
    "line",
    [
        "cloud-init" * 50_000,
        "/usr/bin/python3" * 50_000,
        "error: file " * 50_000,
        "Failed to start " * 50_000,
        "login:" * 100_000,
        "login:" + "x" * 900_000,
        "rum-agent: " * 50_000,
        "\x1b[" * 300_000,
        "\x1b]" * 300_000,
        "\x1b" + " " * 900_000,
        "\x1b[" + "0;" * 400_000,
    ],
    ids=lambda line: ascii(line[:8]),
)
def test_a_console_made_to_keep_the_diagnosis_busy(tmp_path: Path, line: str) -> None:
    """Each of these would take from minutes to days if a pattern tried every place against every other."""
    log = tmp_path / "console.log"
    log.write_text(line + "\n", encoding="utf-8")
    assert len(console.diagnose(console.read_console(log))) < 2 * console.LINE_MAX


ESCAPING = [
    "../../x",
    "/tmp/rum-was-here",
    "a/b",
    "a\0b",
    "a\nb",
    ".",
    "..",
    "",
    "x" * 5000,
    ".hidden",
    "a b",
    "\u202ex",
]


def tree(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


@pytest.mark.parametrize("name", ESCAPING)
def test_no_name_leads_out_of_the_directory(tmp_path: Path, rum_here: Cli, name: str) -> None:
    begun = {**STARTED, "run_id": name}
    ended_with = {**PASSED, "run_id": name}
    play = saying(begun, SCRIPT_STARTED, output(b"x\n"), EXITED, ended_with)
    started = {**SCRIPT_STARTED, "name": name}
    with hostile_guest(tmp_path, {"provision": play, "attach": play}) as (guest, _):
        before = tree(tmp_path)
        for arguments in (["up"], ["logs"], ["logs", "--run", name], ["status"]):
            ended = rum_here(guest, *arguments)
            ended.require_clean()
            assert ended.status in ({0, 2, 4} if arguments[0] == "logs" else {4, 0})
        # rum's own lock is the other thing.
        assert tree(tmp_path) - before <= {"state/runs", "lock"}
    with hostile_guest(tmp_path, {"provision": saying(STARTED, started, EXITED, PASSED)}) as (guest, _):
        ended = rum_here(guest, "up")
        ended.require_clean()
        assert ended.status == 4
        assert {item for item in tree(tmp_path) - before if "x" in Path(item).name} == set()


def test_copies_that_are_never_completed_do_not_add_up(tmp_path: Path, rum_here: Cli) -> None:
    for number in range(4):
        begun = {**STARTED, "run_id": f"00000{number}-aaaaaa"}
        broken = saying(begun, output(bytes(CHUNK_MAX - 8)), encode_frame(Kind.MESSAGE, b"{"))
        with hostile_guest(tmp_path, {"provision": broken}) as (guest, _):
            assert rum_here(guest, "up").status == 4
    assert len(list(guest.paths.runs.iterdir())) == 1


class TestNoHang:
    """Limits are shortened; what is waited for is the real thing."""

    @pytest.fixture(autouse=True)
    def short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(client, "PEER_LOST_S", 1.0)
        for module in (client, runreader):
            monkeypatch.setattr(module, "CALL_PATIENCE_S", 0.5)
        monkeypatch.setattr(runreader, "SNAPSHOT_PATIENCE_S", 0.5)
        monkeypatch.setattr(provisioning, "BUSY_PAUSE_S", 0.0)
        monkeypatch.setattr(provisioning, "BUSY_MAX", 5)

    def require_end(self, ended: Ended, words: str) -> None:
        ended.require_clean()
        assert ended.status == 4
        assert words in ended.err

    @pytest.mark.parametrize(
        "said", [HEARTBEAT, STARTED, {"type": "x"}, output(b"x")], ids=["beat", "event", "unknown", "out"]
    )
    @pytest.mark.parametrize("pause_s", [0.0, 0.05], ids=["flood", "drip"])
    def test_a_status_that_never_comes(
        self, tmp_path: Path, rum_here: Cli, said: Message | bytes, pause_s: float
    ) -> None:
        with hostile_guest(tmp_path, {"status": lambda talk: talk.go_on(said, pause_s=pause_s)}) as (guest, _):
            self.require_end(rum_here(guest, "up"), "has not answered within")

    @pytest.mark.parametrize("arguments", [["up"], ["logs"]])
    def test_the_latest_run_that_never_comes(self, tmp_path: Path, rum_here: Cli, arguments: list[str]) -> None:
        plays: dict[str, Play] = {"attach": lambda talk: talk.go_on(HEARTBEAT, pause_s=0.05)}
        with hostile_guest(tmp_path, plays) as (guest, _):
            self.require_end(rum_here(guest, *arguments), "has not answered within")
            assert rum_here(guest, "status").status == 0

    @pytest.mark.parametrize("arguments", [["up"], ["logs"], ["status"]])
    @pytest.mark.parametrize("said", [HEARTBEAT, output(b"x")], ids=["beat", "output"])
    def test_a_snapshot_that_never_ends(self, tmp_path: Path, rum_here: Cli, arguments: list[str], said: bytes) -> None:
        def attach(talk: Talk) -> None:
            if talk.request["params"]["offset"] == 0:
                talk.say(STARTED, SCRIPT_STARTED)
            talk.go_on(said, pause_s=0.05)

        with hostile_guest(tmp_path, {"attach": attach}) as (guest, _):
            ended = rum_here(guest, *arguments)
        ended.require_clean()
        assert ended.status == (0 if arguments == ["status"] else 4)

    def test_lost_again_and_again_at_the_same_place(self, tmp_path: Path, rum_here: Cli) -> None:
        plays: dict[str, Play] = {"provision": lambda talk: talk.say(STARTED), "attach": attach_after_start}
        with hostile_guest(tmp_path, plays) as (guest, agent):
            self.require_end(rum_here(guest, "up"), f"was lost {runreader.FRUITLESS_MAX} times in a row")
            assert len(agent.requests) < 4 * runreader.FRUITLESS_MAX

    def test_always_busy(self, tmp_path: Path, rum_here: Cli) -> None:
        busy = saying({"type": "error", "code": "busy", "message": "later"})
        with hostile_guest(tmp_path, {"provision": busy}) as (guest, _):
            self.require_end(rum_here(guest, "up"), "later (busy)")

    def test_a_run_that_grows_without_end(self, tmp_path: Path, rum_here: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(runview, "RUN_MAX", 300_000)
        for flood in (output(b"x" * 60_000), encode_message(SCRIPT_STARTED), encode_message({"type": "x"})):
            plays: dict[str, Play] = {"provision": endless_run(flood)}
            with hostile_guest(tmp_path, plays) as (guest, _):
                self.require_end(rum_here(guest, "-q", "up"), "a run of more than 300000 bytes")

    def test_a_second_run_within_the_first(self, tmp_path: Path, rum_here: Cli) -> None:
        with hostile_guest(tmp_path, {"provision": run({**STARTED, "run_id": "other"})}) as (guest, _):
            self.require_end(rum_here(guest, "up"), "run other began where run 000001-abcdef goes on")


def attach_after_start(talk: Talk) -> None:
    """Nothing for who asks for the latest run, an end at once for who reads on."""
    if talk.request["params"]["run_id"] is None:
        nothing_yet(talk)


def endless_run(flood: bytes) -> Play:
    def play(talk: Talk) -> None:
        talk.say(STARTED)
        talk.go_on(flood * 20)

    return play


MEBIBYTE = 1024 * 1024


def padded(start: bytes, filling: bytes, end: bytes) -> bytes:
    """A message as large as a message may be."""
    return encode_frame(Kind.MESSAGE, start + filling * ((MESSAGE_MAX - len(start + end)) // len(filling)) + end)


LARGE: dict[str, Callable[[], bytes]] = {
    "one-string": lambda: padded(b'{"type":"x","a":"', b"s", b'"}'),
    "wide-string": lambda: padded(b'{"type":"x","a":"', "\U0001f600".encode(), b'"}'),
    "escapes": lambda: padded(b'{"type":"x","a":"', b"\\u263a", b'"}'),
    "arrays": lambda: padded(b'{"type":"x","a":[', b"[],", b"[]]}"),
    "objects": lambda: padded(b'{"type":"x","a":[', b"{},", b"{}]}"),
    "strings": lambda: padded(b'{"type":"x","a":[', b'"a",', b'"a"]}'),
    "names": lambda: padded(b'{"type":"x","a":{', b'"":1,', b'"":1}}'),
    "nesting": lambda: padded(b'{"type":"x","a":', b"[", b""),
    "ran": lambda: padded(b'{"type":"result","success":true,"ran":[', b'"a",', b'"a"]}'),
    "most-elements": lambda: encode_frame(
        Kind.MESSAGE, b'{"type":"x","a":[' + b"{}," * (STRUCTURE_MAX // 2 - 10) + b"{}]}"
    ),
    "script-names": lambda: encode_message({**SCRIPT_STARTED, "name": "x" * (15 * MEBIBYTE)}),
    "run-ids": lambda: encode_message({**STARTED, "run_id": "x" * (15 * MEBIBYTE)}),
    "no-newline": lambda: output(b"x" * (CHUNK_MAX - 8)) * 300,
    "returns": lambda: output(b"x\r" * 30_000) * 300,
    "half-characters": lambda: output(b"\xf0\x9f\x98" * 20_000) * 300,
    "empty-output": lambda: output(b"") * 20_000,
    "scripts": lambda: encode_message(SCRIPT_STARTED) * 5_000,
    "scripts-with-output": lambda: (encode_message(SCRIPT_STARTED) + output(b"\xf0\x9f")) * 4_000,
    "unknown-events": lambda: encode_message({"type": "x" * 1000}) * 15_000,
}

PEAK_MAX_KIB = 160 * 1024
"""Of a process that starts at some 45 MiB: the largest message, decoded as four-byte characters, and its copies."""

STREAM_PEAK_MAX_KIB = 64 * 1024
"""Where there is no large message: what passes by is not kept."""


def peak_max_kib(about: str) -> int:
    streams = {"no-newline", "returns", "half-characters", "empty-output", "unknown-events"}
    return STREAM_PEAK_MAX_KIB if about in streams or about.startswith("scripts") else PEAK_MAX_KIB


def peak_of(guest: LocalGuest, *arguments: str) -> tuple[int, int]:
    """Exit status and the largest resident memory, in KiB, of the command line as a process."""
    settings = command(guest, *arguments)
    peak = guest.directory / "peak"
    settings["env"]["RUM_TEST_PEAK"] = str(peak)
    done = subprocess.run(**settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, timeout=110)
    return done.returncode, int(peak.read_text(encoding="ascii"))


@pytest.mark.parametrize("about", LARGE)
def test_memory_is_bounded_whatever_comes(tmp_path: Path, about: str) -> None:
    arguments = [["up"], ["-o", "json", "up"]][hash_of(about) % 2]
    with hostile_guest(tmp_path, {"provision": run(LARGE[about]() * 2)}) as (guest, _):
        status, peak = peak_of(guest, *arguments)
    assert status in (0, 4)
    assert peak < peak_max_kib(about)


@pytest.mark.parametrize("about", ["scripts-with-output", "unknown-events", "wide-string"])
@pytest.mark.parametrize("arguments", ["logs", "status"])
def test_memory_is_bounded_when_a_run_is_read_again(tmp_path: Path, about: str, arguments: str) -> None:
    with hostile_guest(tmp_path, {"attach": run(LARGE[about]() * 2)}) as (guest, _):
        status, peak = peak_of(guest, arguments)
    assert status in (0, 4)
    assert peak < peak_max_kib(about)


def test_two_interrupts_leave_an_agent_that_ignores_both(tmp_path: Path) -> None:
    """A run may be silent for ever, as a script may: heartbeats without an end are the user's to end."""

    def silent(talk: Talk) -> None:
        talk.say(STARTED, SCRIPT_STARTED)
        talk.go_on(HEARTBEAT, pause_s=0.05)

    plays: dict[str, Play] = {"provision": silent, "cancel": lambda talk: talk.go_on(HEARTBEAT, pause_s=0.05)}
    with hostile_guest(tmp_path, plays) as (guest, agent):
        settings = command(guest, "up")
        with subprocess.Popen(**settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout
            assert b"[1/1] one (system, order 50)\n" in iter(process.stdout.readline, b"")
            process.send_signal(signal.SIGINT)
            wait_until(lambda: agent.requests[-1]["method"] == "cancel", "the cancellation")
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in err
