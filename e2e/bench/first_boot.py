"""First boots of one image: rum's, the same with the agent started by `runcmd`, and one without rum, seen over ssh."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from e2e.bench import anatomy, nocloud, user_network
from e2e.bench.anatomy import Moments
from e2e.bench.context import Bench
from e2e.bench.disks import base_of, make_disk
from e2e.bench.experiment import Experiment, Measured, Row, Series, excess_at_most, ratio_at_most
from e2e.bench.without_rum import boot_by_hand
from e2e.project import Json, Project

BOOT_S = 180
"""How long a boot may take under KVM."""

ROUNDS = 2

SCRIPT = "date > /var/tmp/provisioned"

CONFIG = f"""
[resources]
cpus = 1
memory_mb = 768
disk = "4G"

[provision.system]
script = "{SCRIPT}"
"""


@dataclass(frozen=True)
class Boot:
    """A boot by `rum up`, in seconds: to the agent's first answer and to sshd's, since the domain's start, as its other
    moments are, and the whole command.
    """

    agent: float
    sshd: float
    command: float
    moments: Moments


@dataclass
class Rounds:
    """Samples, in seconds, one of each per round."""

    early: list[Boot] = field(default_factory=list)
    by_runcmd: list[Boot] = field(default_factory=list)
    by_hand: list[float] = field(default_factory=list)

    def measured(self) -> Measured:
        """Series by the names that the rows know."""
        return {
            "early": Series.of("first answer", "s", [boot.agent for boot in self.early]),
            "by-runcmd": Series.of("first answer, started by runcmd", "s", [boot.agent for boot in self.by_runcmd]),
            "sshd": Series.of("sshd's banner", "s", [boot.sshd for boot in self.early]),
            "up": Series.of("rum up", "s", [boot.command for boot in self.early]),
            "by-hand": Series.of("cloud-init and ssh", "s", self.by_hand),
            **anatomy.series("early", [boot.moments for boot in self.early]),
            **anatomy.series("by-runcmd", [boot.moments for boot in self.by_runcmd]),
        }


def measure(bench: Bench) -> Measured:
    """Everything but the image is made anew for each boot."""
    rounds = Rounds()
    for number in range(bench.many(ROUNDS)):
        with bench.project(f"first-boot-{number}", CONFIG) as project:
            one_round(bench, project, rounds)
    return rounds.measured()


def one_round(bench: Bench, project: Project, rounds: Rounds) -> None:
    """A boot of each kind, one after the other."""
    limit_s = BOOT_S * project.patience
    bench.note("a first boot by rum")
    rounds.early.append(watched_up(project, limit_s))
    definition = project.domain()
    shut_down(project)
    bench.note("a first boot with the agent started by runcmd")
    begin_anew(project)
    rounds.by_runcmd.append(watched_up(project, limit_s))
    shut_down(project)
    bench.note("a first boot by cloud-init alone, looked at over ssh")
    scratch = project.directory / "by-hand"
    scratch.mkdir()
    image = base_of(project.state_dir / "overlay.qcow2")
    rounds.by_hand.append(boot_by_hand(definition, image, SCRIPT, scratch, project.environment, limit_s))


def watched_up(project: Project, limit_s: float) -> Boot:
    """`rum up`, watched. Raises AssertionError, TimeoutError."""
    earlier = (project.state_dir / "console.log").stat().st_size if project.created else 0
    live = project.start("up")
    live.wait_for(is_done("domain"), limit_s)
    begun = time.monotonic()
    port = user_network.forward(f"rum-{project.state_dir.name}", 22, project.environment)
    with user_network.BannerWatch(port, project.state_dir / "console.log", earlier) as sshd:
        live.wait_for(is_done("boot"), limit_s)
        answered = time.monotonic()
        outcome = live.finish(limit_s)
        assert outcome.exit == 0, outcome.stderr
        moments = anatomy.moments(project, begun)
        return Boot(answered - begun, sshd.wait(limit_s) - begun, outcome.seconds, moments)


def is_done(phase: str) -> Callable[[Json], bool]:
    """Whether an event says that a phase has ended well."""
    return lambda event: (event["type"], event.get("name"), event.get("status")) == ("phase", phase, "done")


def shut_down(project: Project) -> float:
    """Seconds that `rum down` takes, the whole command. Raises AssertionError, also where it had to use force."""
    outcome = project.rum("down")
    assert outcome.exit == 0, outcome.stderr
    assert "turned off" not in outcome.stdout + outcome.stderr, "the guest did not shut down by itself"
    return outcome.seconds


def begin_anew(project: Project) -> None:
    """Give a VM that is off the disk of its image again, and a seed that starts the agent by `runcmd`.

    Whoever starts it next finds both as they are: rum replaces no disk that has booted, and no seed of the same name.
    """
    overlay = project.state_dir / "overlay.qcow2"
    make_disk(base_of(overlay), overlay)
    (iso,) = project.state_dir.glob("seed-*.iso")
    nocloud.write_seed(iso, nocloud.started_by_runcmd(nocloud.read_seed(iso)))


EXPERIMENT = Experiment(
    "first-boot",
    measure,
    (
        Row(
            "first boot: domain start to the agent's first answer",
            "the same image and seed with the agent started by `runcmd`",
            ratio_at_most(0.60),
            "early",
            "by-runcmd",
            reason="the kernel, systemd up to `local-fs.target` and cloud-init's own start are in both, and the peer"
            " has rum's short lists of modules, too; less would need an agent that is in the image. On a host that"
            " others share, runs differ by a third: an hour earlier it was 0.527",
        ),
        Row("first boot: the agent answers", "sshd's banner in the same boot", excess_at_most(0), "early", "sshd"),
        Row(
            "`rum up`, cold, one trivial script",
            "plain cloud-init with the script in `runcmd`, observed over ssh",
            ratio_at_most(0.75),
            "up",
            "by-hand",
            reason="a system script waits until cloud-init has finished, so that they do not meet at apt, and the"
            " peer's is a part of it. Most of either time is four starts of cloud-init's interpreter, each of 9 to 14 s"
            ' with an emulated CPU. With `after = "local-fs"` it would run when the agent answers',
        ),
    ),
    within_s=1800,
    alone=True,
)
