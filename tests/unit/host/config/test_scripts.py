"""`[provision.*]`: the order, the files and the limits."""

from __future__ import annotations

from pathlib import Path

from rum.host.config.load import load_config
from rum.protocol import After, RunOn
from rum.protocol.limits import SCRIPTS_MAX
from tests.unit.host.config.config_text import MINIMAL, problems, write


def test_scripts_are_in_order(tmp_path: Path) -> None:
    write(tmp_path, "echo früh\n", "early.sh")
    config = load_config(
        write(
            tmp_path,
            MINIMAL
            + """
[provision.boot]
script = "echo boot"
env = { B = "1" }
[provision.system]
script = "echo system"
timeout_s = 1.5
after = "network-online"
[[provision.script]]
name = "late.sh"
order = 1000
run_on = "boot"
script = ""
[[provision.script]]
name = "early"
order = 5
run_on = "system"
file = "early.sh"
""",
        )
    )
    assert [(script.name, script.order, script.run_on) for script in config.scripts] == [
        ("early", 5, RunOn.SYSTEM),
        ("system", 100, RunOn.SYSTEM),
        ("boot", 200, RunOn.BOOT),
        ("late.sh", 1000, RunOn.BOOT),
    ]
    early, system, boot, _ = config.scripts
    assert early.content == "echo früh\n"
    assert (system.timeout_s, system.waits_for) == (1.5, After.NETWORK_ONLINE)
    assert (boot.env, boot.waits_for) == ({"B": "1"}, After.NETWORK_ONLINE)


def test_a_script_that_the_agent_would_not_take_is_a_problem(tmp_path: Path) -> None:
    write(tmp_path, "x" * (2 << 20), "big.sh")
    found = problems(tmp_path, MINIMAL + '[provision.system]\nfile = "big.sh"\n')
    assert found == ["provision.system: the script is over 2 MiB, the most that one may have"]


def test_as_many_scripts_as_the_agent_takes(tmp_path: Path) -> None:
    entry = '[[provision.script]]\nname = "s{}"\norder = 1\nrun_on = "boot"\nscript = ""\n'
    drive = '[drives.a]\nsize = "1G"\n[[fs.ext4]]\ndrive = "a"\ntarget = "/a"\n'
    most = MINIMAL + "".join(entry.format(number) for number in range(SCRIPTS_MAX))
    assert len(load_config(write(tmp_path, most)).scripts) == SCRIPTS_MAX
    assert problems(tmp_path, most + entry.format("x")) == ["provision: has 1001 scripts, at most 1000 are allowed"]
    assert problems(tmp_path, most + drive) == [
        "provision: has 1000 scripts and the one for the drives, at most 1000 are allowed"
    ]


def test_scripts_that_do_not_fit_one_message_are_a_problem(tmp_path: Path) -> None:
    write(tmp_path, "x" * (1 << 20), "big.sh")
    entries = "".join(
        f'[[provision.script]]\nname = "s{n}"\norder = 1\nrun_on = "boot"\nfile = "big.sh"\n' for n in range(17)
    )
    assert problems(tmp_path, MINIMAL + entries) == ["provision: the scripts are 17 MiB together, which is over 16 MiB"]


def test_a_script_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "big.sh").open("wb") as file:
        file.truncate(100 << 30)
    found = problems(tmp_path, MINIMAL + '[provision.system]\nfile = "big.sh"\n')
    assert found == ['provision.system.file = "big.sh": is over 2 MiB, the most that is read']
