"""All checks, in the order in which a VM comes to need them, and what is said about them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rum.host import remedies
from rum.host.doctor import libvirt, machine, programs, project
from rum.host.doctor.finding import Finding, Host, Look, Status
from rum.host.errors import HostError
from rum.host.outcome import Outcome, counted

SLOW = "with KVM everything in the guest is several times as fast"


@dataclass(frozen=True)
class Check:
    """One thing that is looked at, and why it matters."""

    name: str
    why: str
    look: Look


CHECKS = (
    Check("system", "a VM has the architecture of its host", machine.system),
    Check("accelerator", SLOW, machine.accelerator),
    Check("qemu", "it runs the VM", programs.qemu),
    Check("qemu-img", "it makes the VM's disks", programs.qemu_img),
    Check("libvirt", "it starts the VM, and keeps it running when rum ends", libvirt.libvirt),
    Check("libvirt-qemu", "the VM is started through libvirt", libvirt.libvirt_qemu),
    Check("transport", "rum reaches the agent in the guest over virtio-vsock", machine.transport),
    Check("ssh-keygen", "every VM gets an SSH key of its own", programs.ssh_keygen),
    Check("memory", "a host that has to swap is slow", machine.memory),
    Check("disk", "images are downloaded, and disks grow", machine.disk),
    Check("sockets", "QEMU, rum and its helpers meet at Unix sockets", machine.sockets),
    Check("efi", 'advanced.firmware = "efi" boots with it', libvirt.efi),
    Check("virtiofsd", "[[mounts]] are served by it", programs.virtiofsd),
    Check("user-namespaces", "[[mounts]] need one where rum is not root", programs.user_namespaces),
    Check("ssh", "`rum ssh` is this host's ssh; `rum exec` and `rum shell` need none", programs.ssh),
    Check("rum.toml", "it says what the VM is to be", project.rum_toml),
    Check("image", "the VM's disk is made of it", project.image),
    Check("ports", "rum.toml has [[ports]]", project.ports),
    Check("networks", "rum.toml names libvirt networks", libvirt.networks),
)

HEADINGS = {
    Status.MISSING: "MISSING",
    Status.SLOWER: "slower",
    Status.OPTIONAL: "optional",
    Status.OK: "ok",
}
STATUS_WIDTH = max(map(len, HEADINGS.values()))
NAME_WIDTH = max(len(check.name) for check in CHECKS)


@dataclass(frozen=True)
class Result:
    """What one check came to."""

    check: Check
    finding: Finding

    def fields(self) -> Mapping[str, object]:
        """As an object for `-o json` (rum.host.json_lines.answers.Check)."""
        return {
            "type": "check",
            "name": self.check.name,
            "status": self.finding.status.value,
            "found": self.finding.found,
            "why": self.check.why,
            "fix": self.finding.fix,
        }

    def lines(self, width: int | None = None) -> list[str]:
        """For people: one line; where something is to be done, what and why below it.

        `width`: the columns that sentences are wrapped to; a command is not, so that it can be copied.
        """
        shown = entry(HEADINGS[self.finding.status], self.check.name, self.finding.found, width)
        if self.finding.status is not Status.OK:
            shown += entry("", "why", self.check.why, width)
            if self.finding.fix:
                shown += entry("", "what to do", self.finding.fix)
            shown.append("")
        return shown


def entry(status: str, name: str, text: str, width: int | None = None) -> list[str]:
    """A line in columns, and the lines that its text goes on in."""
    head = f"{status:<{STATUS_WIDTH}}  {name:<{NAME_WIDTH}}  "
    if width is None or width < 2 * len(head):
        return [head + text]
    wrapper = textwrap.TextWrapper(width, head, " " * len(head), break_long_words=False, break_on_hyphens=False)
    return wrapper.wrap(text)


def examine(host: Host) -> list[Result]:
    """Look at everything; the worst comes first."""
    results = [Result(check, found) for check in CHECKS if (found := looked(check, host))]
    order = list(Status)
    return sorted(results, key=lambda result: order.index(result.finding.status))


def looked(check: Check, host: Host) -> Finding | None:
    """What a check found; an error that it did not expect is a finding, too."""
    try:
        return check.look(host)
    except (HostError, OSError) as exc:
        hint = exc.hint if isinstance(exc, HostError) else None
        return Finding(Status.MISSING, str(exc), hint)


def conclusion(results: Sequence[Result]) -> Outcome:
    """How the command ends. Raises HostError where `rum up` cannot work."""
    wrong = [result for result in results if result.finding.status is Status.MISSING]
    if wrong:
        names = listed([result.check.name for result in wrong])
        raise HostError(f"`rum up` cannot work here yet, because of {names}", hint=what_to_do(wrong))
    return Outcome(", ".join(["`rum up` can work here", *remarks(results)]))


def listed(names: Sequence[str]) -> str:
    """Names in a sentence.

    >>> listed(["qemu"]), listed(["qemu", "libvirt", "disk"])
    ('qemu', 'qemu, libvirt and disk')
    """
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def what_to_do(wrong: Sequence[Result]) -> str:
    """One command for all that can be installed, where that is more than one thing."""
    needs = [need for result in wrong for need in result.finding.needs]
    again = "then run `rum doctor` again"
    if len(set(needs)) > 1 and remedies.family():
        return f"{remedies.install(*dict.fromkeys(needs))}; do what else is said above, {again}"
    return f"do what is said above, {again}"


def remarks(results: Sequence[Result]) -> Iterator[str]:
    """What else there is to say, in a clause each."""
    counts = {status: sum(result.finding.status is status for result in results) for status in Status}
    if counts[Status.SLOWER]:
        yield "slower than it could"
    if counts[Status.OPTIONAL]:
        yield f"without {counted(counts[Status.OPTIONAL], 'thing')} that some VMs need"
