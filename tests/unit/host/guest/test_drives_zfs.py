"""zfs in the drives script, with stand-ins of zpool and zfs that keep their pools in files."""

from __future__ import annotations

from pathlib import Path

import pytest

from rum.host.config.model import Filesystem
from tests.unit.host.guest.drives_guest import SYSTEM_PATH, DrivesGuest

# Pools are files: pools/NAME lists the disks, imported/NAME is there while it is imported, its text is the mount point.
ZPOOL = """
command=$1
for last; do :; done
case "$command" in
    create)
        pool= target= disks=
        while [ $# -gt 0 ]; do
            case "$1" in
                -m) target=$2; shift ;;
                -o) shift ;;
                create | -f | mirror | raidz*) ;;
                /*) disks="$disks $1"; printf 'FAKE zfs_member 1\\n' | dd of="$1" conv=notrunc 2>/dev/null ;;
                *) pool=$1 ;;
            esac
            shift
        done
        for disk in $disks; do echo "  $disk  ONLINE"; done >"$POOLS/$pool.disks"
        printf '%s' "$target" >"$POOLS/$pool.target"
        : >"$POOLS/$pool.imported"
        ;;
    list) [ -e "$POOLS/$last.imported" ] ;;
    import) [ -e "$POOLS/$last.disks" ] && : >"$POOLS/$last.imported" ;;
    export) rm "$POOLS/$last.imported" ;;
    status) cat "$POOLS/$last.disks" ;;
esac
"""

ZFS = """
for last; do :; done
case "$1" in
    get) cat "$POOLS/$last.target" ;;
    set) printf '%s' "${2#mountpoint=}" >"$POOLS/$last.target" ;;
esac
"""


@pytest.fixture
def guest(tmp_path: Path) -> DrivesGuest:
    guest = DrivesGuest.make(tmp_path)
    (tmp_path / "pools").mkdir()
    (tmp_path / "module/zfs").mkdir()
    for name in "ab":
        guest.add_disk(name)
    guest.stub("zpool", ZPOOL, POOLS=str(tmp_path / "pools"), PATH=SYSTEM_PATH)
    guest.stub("zfs", ZFS, POOLS=str(tmp_path / "pools"), PATH=SYSTEM_PATH)
    guest.stub("chown", "")
    return guest


def zfs(guest: DrivesGuest, target: str = "my data", mode: str | None = "mirror", *drives: str) -> Filesystem:
    return Filesystem("zfs", drives or ("a", "b"), guest.target(target), mode, "tank")


def disks(guest: DrivesGuest) -> str:
    return f"{guest.files.dev}/disk-a {guest.files.dev}/disk-b"


def calls(guest: DrivesGuest, *programs: str) -> list[str]:
    return [call for call in guest.calls if call.startswith(programs)]


@pytest.mark.parametrize(("mode", "word"), [("mirror", "mirror "), ("raidz1", "raidz1 "), ("stripe", ""), (None, "")])
def test_a_pool_is_made_mounted_and_grown(guest: DrivesGuest, mode: str | None, word: str) -> None:
    done = guest.run(zfs(guest, mode=mode))
    assert (done.returncode, done.stderr) == (0, "")
    seen = guest.calls
    target = guest.target("my data")
    assert f"zpool create -f -o ashift=12 -o autoexpand=on -m {target} tank {word}{disks(guest)}" in seen
    assert [call for call in seen if call.startswith(("zfs mount", "zpool online", "chown"))] == [
        "zfs mount tank",
        *(f"zpool online -e tank {disk}" for disk in disks(guest).split()),
        next(call for call in seen if call.startswith("chown")),
    ]
    assert guest.entries == [f"#zfs:tank {guest.target('my')}\\040data zfs"]


def test_a_second_run_makes_nothing(guest: DrivesGuest) -> None:
    guest.run(zfs(guest))
    assert guest.calls
    done = guest.run(zfs(guest))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert calls(guest, "zpool create", "zfs set", "zpool export", "chown") == []


def test_another_target_moves_the_mount(guest: DrivesGuest) -> None:
    guest.run(zfs(guest))
    done = guest.run(zfs(guest, "other"))
    assert (done.returncode, done.stderr) == (0, "")
    assert calls(guest, "zfs set", "zpool export") == [f"zfs set mountpoint={guest.target('other')} tank"]


def test_a_pool_that_leaves_is_exported_and_comes_back_with_its_data(guest: DrivesGuest) -> None:
    guest.run(zfs(guest))
    assert guest.run().returncode == 0
    assert calls(guest, "zpool export") == ["zpool export tank"]
    assert guest.entries == []
    done = guest.run(zfs(guest))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert calls(guest, "zpool import", "zpool create") == [f"zpool import -d {guest.files.dev} tank"]


def test_a_foreign_pool_is_left_alone(guest: DrivesGuest) -> None:
    for name in "ab":
        (Path(guest.files.dev) / f"disk-{name}").write_bytes(b"FAKE zfs_member 1\n")
    done = guest.run(zfs(guest))
    assert done.returncode == 1
    assert done.stderr == "drives: there is no pool tank on the drives a b; what is there was left as it is\n"
    assert calls(guest, "zpool create") == []


def test_a_pool_of_that_name_on_other_drives_is_left_alone(guest: DrivesGuest) -> None:
    guest.run(zfs(guest, "my data", None, "a"))
    guest.add_disk("c").write_bytes(b"FAKE zfs_member 1\n")
    done = guest.run(zfs(guest, "my data", None, "c"))
    assert (done.returncode, done.stderr) == (1, "drives: the drive c is not in the pool tank; it was left as it is\n")


def test_a_pool_that_was_half_made_is_made_again_but_never_a_whole_one(guest: DrivesGuest) -> None:
    programs = {"POOLS": str(guest.root / "pools"), "PATH": SYSTEM_PATH}
    cut = f'[ "$command" != create ] || {{ rm "{guest.root}"/pools/*; kill -9 $PPID; }}'
    guest.stub("zpool", ZPOOL + cut, **programs)
    assert guest.run(zfs(guest)).returncode == -9
    guest.stub("zpool", ZPOOL, **programs)
    assert guest.calls
    assert guest.run(zfs(guest)).returncode == 0
    assert len(calls(guest, "zpool create")) == 1
    # As if power had been lost right after it was whole.
    (Path(guest.files.notes) / "a.formatting").write_text("zfs a b\n")
    assert guest.run(zfs(guest)).returncode == 0
    assert calls(guest, "zpool create") == []


@pytest.mark.parametrize(
    ("manager", "packages"),
    [("apt-get", "zfs-dkms linux-headers-6.6.1-0-virt"), ("apk", "zfs-virt"), ("pacman", "zfs-dkms"), ("dnf", "zfs")],
)
def test_the_module_comes_from_a_package_where_the_kernel_has_none(
    guest: DrivesGuest, manager: str, packages: str
) -> None:
    (guest.root / "module/zfs").rmdir()
    guest.stub("uname", "echo 6.6.1-0-virt")
    guest.stub("modprobe", f'[ -e "{guest.root}/installed" ]')
    guest.stub(manager, f': >"{guest.root}/installed"')
    done = guest.run(zfs(guest))
    assert (done.returncode, done.stderr) == (0, "")
    assert calls(guest, manager)[-1].endswith(f" {packages}")


def test_a_kernel_that_cannot_have_it_is_an_error(guest: DrivesGuest) -> None:
    (guest.root / "module/zfs").rmdir()
    guest.stub("modprobe", "exit 1")
    guest.stub("uname", "echo 6.1.0")
    guest.stub("apt-get", "")
    done = guest.run(zfs(guest))
    assert (done.returncode, done.stderr) == (1, "drives: the guest's kernel 6.1.0 cannot load the module zfs\n")
