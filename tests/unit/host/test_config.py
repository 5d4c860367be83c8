"""rum.toml: what it means, and that everything wrong with it is said at once."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from rum.host.config import find_config, load_config, vm_name
from rum.host.config_model import Drive, Filesystem
from rum.host.errors import ConfigError
from rum.protocol import After, RunOn

MINIMAL = '[image]\nbase = "debian-12"\n'


def write(directory: Path, text: str, name: str = "rum.toml") -> Path:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return path


def problems(directory: Path, text: str) -> list[str]:
    """The problems of a file, each without the file's name."""
    path = write(directory, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    prefix = f"{path}: "
    assert all(problem.startswith(prefix) for problem in caught.value.problems)
    return [problem.removeprefix(prefix) for problem in caught.value.problems]


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


def test_scripts_are_in_order_with_the_generated_one(tmp_path: Path) -> None:
    write(tmp_path, "echo früh\n", "early.sh")
    config = load_config(
        write(
            tmp_path,
            MINIMAL
            + """
[drives.data]
size = "1G"
[[fs.ext4]]
drive = "data"
target = "/data"
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
        ("drives", 0, RunOn.SYSTEM),
        ("early", 5, RunOn.SYSTEM),
        ("system", 100, RunOn.SYSTEM),
        ("boot", 200, RunOn.BOOT),
        ("late.sh", 1000, RunOn.BOOT),
    ]
    drives, early, system, boot, _ = config.scripts
    assert drives.waits_for is After.LOCAL_FS
    assert early.content == "echo früh\n"
    assert (system.timeout_s, system.waits_for) == (1.5, After.NETWORK_ONLINE)
    assert (boot.env, boot.waits_for) == ({"B": "1"}, After.NETWORK_ONLINE)


def test_a_drive_without_a_file_system_makes_no_script(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, MINIMAL + '[drives.raw]\nsize = "1G"\n')).scripts == ()


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    assert problems(
        tmp_path,
        """
[image]
bse = "debian-12"
[resources]
cpus = "2"
memory_mb = 64
disk = "20 GB"
[netwrok]
mode = "bridge"
""",
    ) == [
        "image.base: is required",
        "image.bse: there is no such key; did you mean base?",
        'resources.disk = "20 GB": must be a size such as "512M", "20G" or "1T", at most "64T"',
        'resources.cpus = "2": must be an integer from 1 to 255',
        "resources.memory_mb = 64: must be an integer from 128 to 16777216",
        "netwrok: there is no such key; did you mean network?",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[resources]\ncpus = true", "resources.cpus = true: must be an integer from 1 to 255"),
        ("[resources]\ncpus = 2.0", "resources.cpus = 2.0: must be an integer from 1 to 255"),
        ("[advanced]\nautologin = 1", "advanced.autologin = 1: must be true or false"),
        ("[advanced]\nboot_timeout_s = 0", "advanced.boot_timeout_s = 0: must be an integer from 1 to 86400"),
        ('[advanced]\nmachine = "virt"', 'advanced.machine = "virt": must be an x86 machine type'),
        ('[network]\nmode = "bridge"', 'network.mode = "bridge": must be one of "user", "nat", "none"'),
        ('[network]\nhostname = "-a"', 'network.hostname = "-a": must be a host name of RFC 1123'),
        (f'[network]\nhostname = "{"a." * 32}b"', "at most 64 characters"),
        ('[user]\nname = "Rum"', 'user.name = "Rum": must be a lower-case letter'),
        ('[user]\ngroups = "docker"', 'user.groups = "docker": must be a list'),
        ('[user]\ngroups = ["ok", 1]', "user.groups[1] = 1: must be"),
        ('[ssh]\nauthorized_keys = ["AAAA"]', 'ssh.authorized_keys[0] = "AAAA": must be one line'),
        ('[ssh]\nauthorized_keys = ["ssh-rsa A\\nssh-rsa B"]', "must be one line"),
        ("ssh = 3", "ssh = 3: must be a table"),
        ("[[mounts]]\nsource = '.'", "mounts: not supported by this version of rum"),
        ("[[ports]]\nhost = 1", "ports: not supported by this version of rum"),
        ("[auto_ports]\n", "auto_ports: not supported by this version of rum"),
        ("[[network.interfaces]]\n", "network.interfaces: not supported by this version of rum"),
        ("[[fs.xfs]]\n", "fs.xfs: not supported by this version of rum"),
        ("[[fs.ext3]]\n", "fs.ext3: there is no such key; did you mean ext4?"),
        ("[drives.data]\n", "drives.data.size: is required"),
        ('[drives.Data]\nsize = "1G"', "drives.Data: a drive's name must be"),
        ('[drives.abcdefghijklmnopq]\nsize = "1G"', "at most 16 characters"),
        ('[drives."a b"]\nsize = "1G"', 'drives."a b": a drive\'s name must be'),
        ('[drives.data]\nsize = "0G"', 'drives.data.size = "0G": must be a size'),
        ('[drives.data]\nsize = "999999T"', 'drives.data.size = "999999T": must be a size'),
        ("[[fs.ext4]]\n", "fs.ext4[0].drive: is required"),
        ("[fs.ext4]\n", "fs.ext4 = {}: must be a list of tables, written as [[fs.ext4]]"),
        ('[provision.system]\nscript = "a"\nfile = "b"', "provision.system: has both script and file"),
        ("[provision.boot]\n", "provision.boot: needs either script or file"),
        ('[provision.boot]\nfile = "none.sh"', 'provision.boot.file = "none.sh": cannot be read: No such file'),
        ('[provision.boot]\nfile = "."', 'provision.boot.file = ".": cannot be read: Is a directory'),
        ('[provision.boot]\nfile = "latin1"', 'provision.boot.file = "latin1": must be a text file in UTF-8'),
        ('[provision.boot]\nscript = ""\nrun_on = "boot"', "provision.boot.run_on: there is no such key"),
        ('[provision.boot]\nscript = ""\nafter = "later"', 'provision.boot.after = "later": must be one of "local-fs"'),
        ('[provision.boot]\nscript = ""\ntimeout_s = 0', "provision.boot.timeout_s = 0: must be a positive number"),
        ('[provision.boot]\nscript = ""\ntimeout_s = inf', "must be a positive number of seconds"),
        ('[provision.boot]\nscript = ""\nenv = { A = 1 }', "provision.boot.env.A = 1: must be a string without NUL"),
        ('[provision.boot]\nscript = ""\nenv = { "a-b" = "1" }', "provision.boot.env.a-b: must be named by letters"),
        ("[[provision.script]]\n", "provision.script[0].run_on: is required"),
        (
            '[[provision.script]]\nname = "drives"',
            'provision.script[0].name = "drives": this is the name of the drives',
        ),
        ("[[provision.script]]\norder = 2147483648", "must be an integer from 0 to 2147483647"),
        ('[image]\nbase = "debain-12"', 'image.base = "debain-12": is neither an image that rum knows nor a file in'),
        ('[image]\nbase = "ftp://x/y.img"', "a URL must begin with http:// or https://"),
        ('[image]\nbase = "debian-12"\nsha256 = "123"', 'image.sha256 = "123": must be 64 hexadecimal digits'),
    ],
)
def test_each_problem_names_key_value_and_what_is_allowed(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "latin1").write_bytes(b"echo \xe9\n")
    whole = text if "[image]" in text else f"{text}\n{MINIMAL}"
    assert any(expected in problem for problem in problems(tmp_path, whole))


def test_an_unknown_image_gets_a_suggestion(tmp_path: Path) -> None:
    assert problems(tmp_path, '[image]\nbase = "debain-12"')[0].endswith("; did you mean debian-12?")


def test_drives_and_targets_are_used_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        MINIMAL
        + """
[drives.a]
size = "1G"
[drives.b]
size = "1G"
[[fs.ext4]]
drive = "a"
target = "/data"
[[fs.ext4]]
drive = "a"
target = "/other"
[[fs.ext4]]
drive = "b"
target = "/data"
[[fs.ext4]]
drive = "c"
target = "/c"
""",
    )
    assert found == [
        'fs.ext4[1].drive = "a": another file system has this drive',
        'fs.ext4[2].target = "/data": another file system has this target',
        'fs.ext4[3].drive = "c": there is no [drives.c]; allowed are a, b',
    ]


@pytest.mark.parametrize("target", ["data", "/", "//data", "/data/", "/a/../b", "/a/./b", "/a\\nb", "/a\\u007f", ""])
def test_a_target_is_absolute_and_normalised(tmp_path: Path, target: str) -> None:
    text = f'{MINIMAL}[drives.a]\nsize = "1G"\n[[fs.ext4]]\ndrive = "a"\ntarget = "{target}"\n'
    assert "must be an absolute, normalised path" in problems(tmp_path, text)[0]


def test_parents_are_mounted_before_what_is_below_them(tmp_path: Path) -> None:
    entries = [("a", "/srv/data/deep"), ("b", "/srv/data"), ("c", "/srv/data-2")]
    drives = "".join(f'[drives.{name}]\nsize = "1G"\n' for name, _ in entries)
    tables = "".join(f'[[fs.ext4]]\ndrive = "{name}"\ntarget = "{target}"\n' for name, target in entries)
    config = load_config(write(tmp_path, MINIMAL + drives + tables))
    assert [filesystem.drives[0] for filesystem in config.filesystems] == ["b", "a", "c"]


def test_two_scripts_of_one_name_are_a_problem(tmp_path: Path) -> None:
    entry = '[[provision.script]]\nname = "x"\norder = 1\nrun_on = "boot"\nscript = ""\n'
    assert problems(tmp_path, MINIMAL + entry * 2) == ['provision.script[1].name = "x": another script has this name']


def test_a_script_that_the_agent_would_not_take_is_a_problem(tmp_path: Path) -> None:
    write(tmp_path, "x" * (2 << 20), "big.sh")
    found = problems(tmp_path, MINIMAL + '[provision.system]\nfile = "big.sh"\n')
    assert found == ["provision: the script system is over 2 MiB, the most that one may have"]


def test_scripts_that_do_not_fit_one_message_are_a_problem(tmp_path: Path) -> None:
    write(tmp_path, "x" * (1 << 20), "big.sh")
    entries = "".join(
        f'[[provision.script]]\nname = "s{n}"\norder = 1\nrun_on = "boot"\nfile = "big.sh"\n' for n in range(17)
    )
    assert problems(tmp_path, MINIMAL + entries) == ["provision: the scripts are 17 MiB together, which is over 16 MiB"]


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
    assert "image.base" in (caught.value.hint or "")


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
