"""The driver against libvirt's own test hypervisor, which keeps its domains in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from rum.host import remedies
from rum.host.errors import HostError
from rum.host.vm.domain_xml import NAMESPACE
from rum.host.vm.libvirt_driver import LibvirtDriver, default_uri, is_system
from rum.host.vm.libvirt_errors import ForeignDomainError, LostLibvirtError, SilentLibvirtError, SilentQemuError

URI = "test:///default"
TAG = f'<metadata><rum:vm xmlns:rum="{NAMESPACE}" id8="0"/></metadata>'


def xml(name: str, tag: str = TAG, memory: int = 64) -> str:
    return (
        f'<domain type="test"><name>{name}</name>{tag}<memory unit="MiB">{memory}</memory>'
        "<os><type>hvm</type></os></domain>"
    )


@pytest.fixture
def driver() -> Iterator[LibvirtDriver]:
    with LibvirtDriver(URI) as opened:
        yield opened
        for domain in libvirt.open(URI).listAllDomains():
            if domain.name().startswith("rum-"):
                if domain.isActive():
                    domain.destroy()
                domain.undefine()


def test_a_domain_s_life(driver: LibvirtDriver) -> None:
    assert driver.state("rum-a") == "absent"
    driver.define("rum-a", xml("rum-a"))
    assert driver.state("rum-a") == "stopped"
    driver.start("rum-a")
    assert driver.state("rum-a") == "running"
    driver.shut_down("rum-a")
    # It may go off between two presses.
    driver.shut_down("rum-a")
    assert driver.wait_until_off("rum-a", 10)
    driver.start("rum-a")
    driver.force_off("rum-a")
    assert driver.state("rum-a") == "stopped"
    driver.undefine("rum-a")
    assert driver.state("rum-a") == "absent"


def test_what_is_done_already_is_no_error(driver: LibvirtDriver) -> None:
    driver.define("rum-a", xml("rum-a"))
    driver.force_off("rum-a")
    driver.undefine("rum-a")
    driver.undefine("rum-a")


def test_a_paused_domain_goes_on(driver: LibvirtDriver) -> None:
    driver.define("rum-a", xml("rum-a"))
    driver.start("rum-a")
    libvirt.open(URI).lookupByName("rum-a").suspend()
    assert driver.state("rum-a") == "paused"
    assert not driver.is_out_of_space("rum-a")
    driver.resume("rum-a")
    assert driver.state("rum-a") == "running"


class EndedConnection:
    """What is left of a connection whose daemon has been killed."""

    def lookupByName(self, _name: str) -> None:  # noqa: N802 - libvirt's
        raise libvirt.libvirtError("Cannot write data: Broken pipe")

    def isAlive(self) -> int:  # noqa: N802 - libvirt's
        return 0

    def close(self) -> None:
        """It is closed already."""


def test_a_daemon_that_was_restarted_is_asked_again(driver: LibvirtDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    driver.define("rum-a", xml("rum-a"))
    monkeypatch.setattr(driver, "_connection", EndedConnection())
    assert driver.state("rum-a") == "stopped"


def test_one_that_is_just_being_restarted_is_waited_for(driver: LibvirtDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is killed closes its connections before the socket that it listens at: who comes in between is sent away."""
    driver.define("rum-a", xml("rum-a"))
    monkeypatch.setattr(driver, "_connection", EndedConnection())
    attempts = iter([libvirt.libvirtError("Cannot recv data: Connection reset by peer"), None])
    connect = libvirt.open

    def answer(uri: str) -> libvirt.virConnect:
        if error := next(attempts):
            raise error
        return connect(uri)

    monkeypatch.setattr(libvirt, "open", answer)
    assert driver.state("rum-a") == "stopped"


def test_one_that_is_gone_is_one_sentence(driver: LibvirtDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "_connection", EndedConnection())
    with pytest.raises(LostLibvirtError, match="the connection to libvirt at test:///default has ended"):
        driver.start("rum-a")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rum.host.vm.libvirt_driver.RECONNECT_S", 0.1)
        patch.setattr(libvirt, "open", lambda _uri: EndedConnection())
        with pytest.raises(LostLibvirtError) as caught:
            driver.state("rum-a")
    assert caught.value.code == "libvirt"
    assert "run the command again" in str(caught.value.hint)


def test_a_qemu_that_does_not_answer_is_one_sentence(driver: LibvirtDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped:
        """A domain whose QEMU is stopped: libvirt waits for its answer."""

        def shutdown(self) -> None:
            threading.Event().wait(60)

        resume = shutdown

        def state(self) -> list[int]:
            return [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER]

    monkeypatch.setattr("rum.host.vm.libvirt_driver.ANSWER_TIMEOUT_S", 0.1)
    monkeypatch.setattr(driver, "_require", lambda _name: Stopped())
    for call in (driver.shut_down, driver.resume):
        with pytest.raises(SilentQemuError, match="the QEMU of domain rum-a has not answered libvirt within") as caught:
            call("rum-a")
    assert "stopped" in str(caught.value.hint)


def test_a_domain_that_libvirt_does_not_end_is_one_sentence(
    driver: LibvirtDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = threading.Event()

    class Unending:
        """A domain whose QEMU hangs in the kernel: libvirt waits for its end."""

        def destroy(self) -> None:
            let_go.wait(60)

    monkeypatch.setattr("rum.host.vm.libvirt_calls.LIBVIRT_TIMEOUT_S", 0.1)
    monkeypatch.setattr(driver, "_require", lambda _name: Unending())
    with pytest.raises(SilentLibvirtError, match=f"libvirt at {URI} has not answered within"):
        driver.force_off("rum-a")
    let_go.set()


def test_a_wait_ends_with_its_time(driver: LibvirtDriver) -> None:
    driver.define("rum-a", xml("rum-a"))
    driver.start("rum-a")
    assert not driver.wait_until_off("rum-a", 0)


def test_a_domain_without_the_tag_is_never_touched(driver: LibvirtDriver) -> None:
    libvirt.open(URI).defineXML(xml("rum-theirs", tag=""))
    for action in (driver.state, driver.start, driver.shut_down, driver.force_off, driver.undefine):
        with pytest.raises(ForeignDomainError, match="was not made by rum"):
            action("rum-theirs")
    with pytest.raises(ForeignDomainError):
        driver.define("rum-theirs", xml("rum-theirs"))


def test_a_domain_that_is_gone_is_one_sentence(driver: LibvirtDriver) -> None:
    with pytest.raises(HostError, match="there is no libvirt domain rum-a any more"):
        driver.start("rum-a")


def test_a_definition_that_libvirt_refuses_is_an_error(
    driver: LibvirtDriver, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(HostError, match=f"libvirt at {URI}: "):
        driver.define("rum-a", "<domain/>")
    assert capfd.readouterr().err == ""


def test_no_daemon_is_one_sentence_with_the_command_that_helps(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot be reached") as caught:
        LibvirtDriver(f"qemu+unix:///system?socket={tmp_path}/none")
    assert caught.value.hint == remedies.reach_libvirt("qemu:///system")


def test_networks_are_the_system_libvirtd_s(driver: LibvirtDriver) -> None:
    with pytest.raises(HostError) as caught:
        driver.require_network("default", 'network.mode is "nat"')
    assert str(caught.value) == f'network.mode is "nat", but {URI} has no networks of its own'
    assert 'network.mode = "user"' in (caught.value.hint or "")


def test_a_network_must_be_there_and_run(driver: LibvirtDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rum.host.vm.libvirt_driver.is_system", lambda uri: uri == URI)
    why = "network.interfaces[0] is on lab"
    with pytest.raises(HostError) as caught:
        driver.require_network("lab", why)
    assert str(caught.value) == f"{why}, but there is no libvirt network lab"
    assert caught.value.hint == f"see what there is: virsh -c {URI} net-list --all"
    network = libvirt.open(URI).networkDefineXML("<network><name>lab</name></network>")
    try:
        with pytest.raises(HostError) as caught:
            driver.require_network("lab", why)
        assert str(caught.value) == f"{why}, but the libvirt network lab does not run"
        assert caught.value.hint == f"start it: virsh -c {URI} net-start lab"
        network.create()
        driver.require_network("lab", why)
        network.destroy()
    finally:
        network.undefine()


def test_a_driver_that_does_not_say_what_it_can_run_is_not_in_the_way(driver: LibvirtDriver) -> None:
    assert driver.domain_capabilities("x86_64", "q35", "qemu") is None


@pytest.mark.parametrize(
    ("code", "message", "expected", "hint"),
    [
        (
            libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
            "unsupported configuration: unable to find any emulator to serve 'aarch64' architecture",
            "libvirt finds no QEMU for this VM: ",
            remedies.install("qemu"),
        ),
        (
            libvirt.VIR_ERR_INVALID_ARG,
            "invalid argument: the machine 'pc-q35-99' is not supported by emulator '/usr/bin/qemu-system-x86_64'",
            "QEMU has no such machine: ",
            "-machine help",
        ),
    ],
)
def test_what_qemu_cannot_run_is_one_sentence(
    driver: LibvirtDriver, monkeypatch: pytest.MonkeyPatch, code: int, message: str, expected: str, hint: str
) -> None:
    """The test hypervisor knows no domain capabilities; these are the errors of libvirt 9.0's QEMU driver."""

    def refuse(*arguments: object) -> str:
        error = libvirt.libvirtError("virConnectGetDomainCapabilities() failed")
        error.err = (code, libvirt.VIR_FROM_QEMU, message, 2, "", None, None, -1, -1)
        raise error

    monkeypatch.setattr(libvirt.virConnect, "getDomainCapabilities", refuse)
    with pytest.raises(HostError, match=f"^{expected}") as caught:
        driver.domain_capabilities("x86_64", "q35", "qemu")
    assert message in str(caught.value)
    assert hint in (caught.value.hint or "")


def test_qemu_needs_no_confinement_where_it_is_this_user_s(driver: LibvirtDriver) -> None:
    assert driver.confinement() is None


@pytest.mark.parametrize(
    ("uri", "system"),
    [("qemu:///system", True), ("qemu+unix:///system", True), ("qemu:///session", False), (URI, False)],
)
def test_which_uris_are_the_machine_s_libvirtd(uri: str, system: bool) -> None:
    assert is_system(uri) is system


SLEEPING = f"""
<node><domain type="test" xmlns:test="http://libvirt.org/schemas/domain/test/1.0">
<name>x</name><metadata><r:vm xmlns:r="{NAMESPACE}"/></metadata><memory>1024</memory><os><type>hvm</type></os>
<test:runstate>7</test:runstate></domain></node>
"""


def test_a_guest_that_sleeps_is_woken(tmp_path: Path) -> None:
    (tmp_path / "node.xml").write_text(SLEEPING)
    with LibvirtDriver(f"test://{tmp_path}/node.xml") as driver:
        assert driver.state("x") == "paused"
        # Which the test driver cannot.
        with pytest.raises(HostError, match="virDomainPMWakeup"):
            driver.resume("x")


@pytest.mark.parametrize("uri", ["qemu:///se\udcffssion", "qemu:///session\nx"])
def test_what_cannot_be_a_uri_is_said(uri: str) -> None:
    with pytest.raises(HostError, match=r"LIBVIRT_DEFAULT_URI is no URI of libvirt: 'qemu:///se") as raised:
        LibvirtDriver(uri)
    assert str(raised.value).isprintable()


def test_the_default_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", URI)
    assert default_uri() == URI
    monkeypatch.delenv("LIBVIRT_DEFAULT_URI")
    for uid, uri in ((0, "qemu:///system"), (1000, "qemu:///session")):
        monkeypatch.setattr("os.geteuid", lambda uid=uid: uid)
        assert default_uri() == uri
