"""rum.toml: what it means, and that everything wrong with it is said at once."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rum.host.config import load_config, vm_name
from rum.host.config_file import find_config
from rum.host.config_model import AutoPorts, Drive, Filesystem, Interface, Mount, Port
from rum.host.config_mounts import default_tag
from rum.host.errors import ConfigError
from rum.protocol import After, RunOn
from rum.protocol.limits import SCRIPTS_MAX

MINIMAL = '[image]\nbase = "debian-12"\n'


def write(directory: Path, text: str, name: str = "rum.toml") -> Path:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return path


def problems(directory: Path, text: str) -> list[str]:
    """The problems of a file, each without the file's name and the line."""
    path = write(directory, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    return [problem.split(": ", 1)[1] for problem in caught.value.problems]


def test_only_the_image_is_required(tmp_path: Path) -> None:
    directory = tmp_path / "My Project"
    directory.mkdir()
    config = load_config(write(directory, MINIMAL))
    assert config.name == config.network.hostname == "my-project"
    assert config.id8 == hashlib.sha256(str(directory / "rum.toml").encode()).hexdigest()[:8]
    assert config.domain_name == f"rum-my-project-{config.id8}"
    assert (config.resources.cpus, config.resources.memory_mb, config.resources.disk) == (2, 2048, 20 << 30)
    assert (config.network.mode, config.user.name, config.user.groups) == ("user", "rum", ())
    assert (config.advanced.accelerator, config.advanced.transport, config.advanced.firmware) == (
        "auto",
        "auto",
        "bios",
    )
    assert (config.advanced.autologin, config.advanced.boot_timeout_s, config.advanced.libvirt_uri) == (
        False,
        300,
        None,
    )
    assert (config.scripts, config.drives, config.filesystems) == ((), {}, ())
    assert (config.mounts, config.ports, config.auto_ports, config.network.interfaces) == ((), (), None, ())


def test_every_key_is_read(tmp_path: Path) -> None:
    config = load_config(
        write(
            tmp_path,
            f"""
[image]
base = "https://example.org/image.qcow2"
sha256 = "{"A" * 64}"
sha512 = "{"b" * 128}"
[resources]
cpus = 4
memory_mb = 512
disk = "1T"
[network]
mode = "none"
hostname = "Box-1.example.org"
[user]
name = "dev"
groups = ["docker", "video"]
[ssh]
authorized_keys = ["ssh-ed25519 AAAA me"]
[drives.data]
size = "512M"
[drives.spare]
size = "10G"
[[fs.ext4]]
drive = "data"
target = "/srv/my data"
[advanced]
libvirt_uri = "qemu:///session"
accelerator = "tcg"
transport = "vhost-user"
machine = "pc-q35-7.2"
firmware = "efi"
autologin = true
boot_timeout_s = 60
""",
        )
    )
    assert config.image.sha256 == "a" * 64
    assert (config.resources.cpus, config.resources.memory_mb, config.resources.disk) == (4, 512, 1 << 40)
    assert (config.network.mode, config.network.hostname) == ("none", "Box-1.example.org")
    assert (config.user.name, config.user.groups) == ("dev", ("docker", "video"))
    assert config.ssh.authorized_keys == ("ssh-ed25519 AAAA me",)
    assert config.drives == {"data": Drive("data", 512 << 20), "spare": Drive("spare", 10 << 30)}
    assert config.filesystems == (Filesystem("ext4", ("data",), "/srv/my data"),)
    assert config.advanced.machine == "pc-q35-7.2"
    assert (config.advanced.autologin, config.advanced.boot_timeout_s) == (True, 60)


def test_file_systems_over_several_drives(tmp_path: Path) -> None:
    drives = "".join(f'[drives.{name}]\nsize = "1G"\n' for name in "abcdefg")
    config = load_config(
        write(
            tmp_path,
            MINIMAL
            + drives
            + """
[[fs.zfs]]
drives = ["a", "b"]
target = "/tank"
mode = "mirror"
[[fs.zfs]]
drive = "c"
target = "/pool"
pool = "Pool_1"
[[fs.btrfs]]
drives = ["d", "e"]
target = "/many"
mode = "raid1"
[[fs.btrfs]]
drive = "f"
target = "/one"
[[fs.vfat]]
drive = "g"
target = "/efi"
""",
        )
    )
    assert config.filesystems == (
        Filesystem("vfat", ("g",), "/efi"),
        Filesystem("btrfs", ("d", "e"), "/many", "raid1"),
        Filesystem("btrfs", ("f",), "/one"),
        Filesystem("zfs", ("c",), "/pool", "stripe", "Pool_1"),
        Filesystem("zfs", ("a", "b"), "/tank", "mirror", "a"),
    )


def test_mounts(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    project = tmp_path / "project"
    for name in ("src", "git"):
        (project / name).mkdir(parents=True)
    config = load_config(
        write(
            project,
            MINIMAL
            + f"""
[[mounts]]
source = "src/"
target = "/all/project"
[[mounts]]
source = "git"
target = "/all"
readonly = true
tag = "everything"
[[mounts]]
source = "./git"
target = '/my "git"'
[[mounts]]
source = "{tmp_path}"
target = "/up"
[[mounts]]
source = "~"
target = "/home/me"
""",
        )
    )
    assert config.mounts == (
        Mount(tmp_path, "/all", "everything", readonly=True),
        Mount(project / "src", "/all/project", "all-project"),
        Mount(Path.home().resolve(), "/home/me", "home-me"),
        Mount(project / "git", '/my "git"', default_tag('/my "git"')),
        Mount(tmp_path, "/up", "up"),
    )


@given(st.lists(st.text(alphabet="ab-_./ ü\"'", min_size=1, max_size=60), min_size=2, max_size=2, unique=True))
def test_a_derived_tag_fits_the_device_and_is_the_targets_own(paths: list[str]) -> None:
    tags = [default_tag("/" + path) for path in paths]
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,35}", tag) for tag in tags)
    assert tags[0] != tags[1]


def test_ports_and_interfaces(tmp_path: Path) -> None:
    config = load_config(
        write(
            tmp_path,
            MINIMAL
            + """
[[ports]]
host = 80
guest = 8080
[[ports]]
host = 80
guest = 8081
bind = "::ffff:192.168.1.5"
[[ports]]
host = 80
guest = 8082
bind = "0:0::1"
[auto_ports]
[[network.interfaces]]
network = "lab"
ip = "192.168.50.2/24"
[[network.interfaces]]
network = "lab"
""",
        )
    )
    assert config.ports == (Port(80, 8080), Port(80, 8081, "192.168.1.5"), Port(80, 8082, "::1"))
    assert config.auto_ports == AutoPorts(1024, 65535, "127.0.0.1")
    assert config.network.interfaces == (Interface("lab", "192.168.50.2/24"), Interface("lab"))


def test_the_range_of_ports_to_follow(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, MINIMAL + '[auto_ports]\nrange = "80-80"\nbind = "0.0.0.0"'))
    assert config.auto_ports == AutoPorts(80, 80, "0.0.0.0")


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


def test_parents_are_mounted_before_what_is_below_them(tmp_path: Path) -> None:
    entries = [("a", "/srv/data/deep"), ("b", "/srv/data"), ("c", "/srv/data-2")]
    drives = "".join(f'[drives.{name}]\nsize = "1G"\n' for name, _ in entries)
    tables = "".join(f'[[fs.ext4]]\ndrive = "{name}"\ntarget = "{target}"\n' for name, target in entries)
    config = load_config(write(tmp_path, MINIMAL + drives + tables))
    assert [filesystem.drives[0] for filesystem in config.filesystems] == ["b", "a", "c"]


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


@pytest.mark.parametrize("special", ["fifo", "device", "directory"])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, special: str) -> None:
    path = tmp_path / "special"
    if special == "fifo":
        os.mkfifo(path)
    elif special == "device":
        path = Path("/dev/zero")
    else:
        path.mkdir()
    said = "cannot be read: Is a directory" if special == "directory" else "is not a regular file"
    with pytest.raises(ConfigError, match=f"^{path} {said}$"):
        load_config(path)
    [problem] = problems(tmp_path, f'{MINIMAL}[provision.boot]\nfile = "{path}"')
    assert problem.endswith(f": {said}")


def test_a_script_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "big.sh").open("wb") as file:
        file.truncate(100 << 30)
    found = problems(tmp_path, MINIMAL + '[provision.system]\nfile = "big.sh"\n')
    assert found == ['provision.system.file = "big.sh": is over 2 MiB, the most that is read']


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "\ufeff" + MINIMAL)).image.base == "debian-12"


def test_a_symbolic_link_to_itself_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "rum.toml").symlink_to("rum.toml")
    with pytest.raises(ConfigError, match="Too many levels of symbolic links"):
        load_config(tmp_path / "rum.toml")


def test_a_directory_that_is_gone_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfigError, match="the current directory does not exist any more"):
        find_config()


def test_what_is_mounted_below_a_file_system_or_a_mount_comes_after_it(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    config = load_config(
        write(
            tmp_path,
            MINIMAL
            + '[drives.a]\nsize = "1G"\n[[fs.ext4]]\ndrive = "a"\ntarget = "/srv"\n'
            + '[[mounts]]\nsource = "."\ntarget = "/srv/app/deep"\n'
            + '[[mounts]]\nsource = "."\ntarget = "/srv/app"\nreadonly = true\n',
        )
    )
    assert [mount.target for mount in config.mounts] == ["/srv/app", "/srv/app/deep"]


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no file"):
        load_config(tmp_path / "rum.toml")


def test_the_file_is_found_in_a_parent(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert find_config(below) == path


def test_without_a_file_the_user_is_told_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        find_config(tmp_path)
    assert "`rum init`" in (caught.value.hint or "")


def test_a_symbolic_link_is_the_same_vm(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL, "dev.rum.toml")
    link = tmp_path / "link.toml"
    link.symlink_to(path)
    assert load_config(link).domain_name == load_config(path).domain_name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/home/me/app/rum.toml", "app"),
        ("/home/me/app/dev.rum.toml", "dev"),
        ("/home/me/app/dev.toml", "dev"),
        ("/home/me/My_App (2)/rum.toml", "my-app-2"),
        ("/rum.toml", "vm"),
        ("/srv/日本/rum.toml", "vm"),
        (f"/srv/{'a' * 40}/rum.toml", "a" * 32),
        (f"/srv/{'a' * 31}-b/rum.toml", "a" * 31),
    ],
)
def test_the_name_of_the_vm(path: str, name: str) -> None:
    assert vm_name(Path(path)) == name
