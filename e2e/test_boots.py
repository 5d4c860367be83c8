"""First boot, then reboots: what runs when, and what the host sees of it. One VM, told as a story."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from e2e.conftest import MakeProject
from e2e.project import Live, Outcome, Project, poll

CONFIG = """
[drives.data]
size = "64M"

[[fs.ext4]]
drive = "data"
target = "/srv/data"

[[mounts]]
source = "shared"
target = "/srv/shared"

[provision.system]
script = '''
touch /srv/data/kept
echo "system-marker-7c1d out"
echo "system-marker-7c1d err" >&2
echo s >> /var/tmp/system-runs
echo system >> /var/tmp/sequence
'''

[provision.boot]
script = '''
echo b >> /var/tmp/boot-runs
echo boot >> /var/tmp/sequence
echo "boot-marker-9e42 number $(wc -l < /var/tmp/boot-runs) first=$RUM_FIRST_BOOT"
echo "boot-marker-9e42 done $(wc -l < /var/tmp/boot-runs)" > /dev/console
'''

[[provision.script]]
name = "between"
order = 150
run_on = "system"
script = '''
echo between >> /var/tmp/sequence
echo waiting-for-the-host
for _ in $(seq 600); do [ -e /run/host-has-seen-it ] && exit 0; sleep 0.2; done
exit 9
'''

[[provision.script]]
name = "a-between"
order = 150
run_on = "system"
file = "a-between.sh"
"""


@pytest.fixture(scope="module")
def project(make_project: MakeProject) -> Project:
    made = make_project("boots")
    made.configure(CONFIG)
    (made.directory / "shared").mkdir()
    (made.directory / "a-between.sh").write_text(
        "#!/bin/bash\nnames=(a between)\necho ${names[*]} >> /var/tmp/sequence\n"
    )
    return made


@pytest.fixture(scope="module")
def first_up(project: Project) -> Outcome:
    """The first `rum up`; a script in it goes on only after the host has reacted to its output."""
    live = project.start("up", "-v")
    live.wait_for(lambda event: "waiting-for-the-host" in event.get("text", ""), within_s=120 * project.patience)
    project.guest("touch /run/host-has-seen-it")
    return live.finish(within_s=60 * project.patience)


@pytest.fixture(scope="module")
def follower(project: Project, first_up: Outcome) -> Iterator[Live]:
    """`rum logs --follow`, from the first boot until the VM is shut down."""
    live = project.start("logs", "--follow")
    yield live
    live.process.kill()
    live.process.wait(timeout=10)


def read_iso(project: Project, directory: Path) -> dict[str, str]:
    """The seed's files, extracted by a reader that is not the writer's library."""
    (seed,) = project.state_dir.glob("seed-*.iso")
    subprocess.run(
        ["xorriso", "-osirrox", "on", "-indev", str(seed), "-extract", "/", str(directory / "iso")],
        check=True,
        capture_output=True,
    )
    return {path.name: path.read_text() for path in (directory / "iso").iterdir()}


class TestFirstBoot:
    def test_ends_well_with_the_vm_running_and_the_sentinel_there(self, project: Project, first_up: Outcome) -> None:
        assert first_up.exit == 0, first_up.stdout[-3000:]
        assert first_up.done["ok"] is True
        assert first_up.result()["first_boot"] is True
        status = project.status()
        assert status["state"] == "running"
        assert status["provisioned"] is True
        project.guest("test -s /var/lib/rum/.system-provisioned")

    def test_runs_scripts_by_order_and_then_by_name(self, project: Project, first_up: Outcome) -> None:
        assert first_up.result()["ran"] == ["drives", "system", "a-between", "between", "boot"]
        assert project.guest("cat /var/tmp/sequence").splitlines() == ["system", "a between", "between", "boot"]

    def test_streams_output_while_the_script_still_runs(self, first_up: Outcome) -> None:
        # The script exits 9 unless the host, having read its first line, made a file in the guest.
        exits = {event["name"]: event["exit_code"] for event in first_up.of_type("script_exited")}
        assert exits == {"drives": 0, "system": 0, "a-between": 0, "between": 0, "boot": 0}

    def test_keeps_stdout_and_stderr_apart(self, first_up: Outcome) -> None:
        assert first_up.output("system", "stdout") == "system-marker-7c1d out\n"
        assert first_up.output("system", "stderr") == "system-marker-7c1d err\n"

    def test_makes_the_drive_and_mounts_what_the_host_shares(self, project: Project, first_up: Outcome) -> None:
        project.guest("findmnt -n -t ext4 /srv/data && test -e /srv/data/kept && uname -n > /srv/shared/from-the-guest")
        assert (project.directory / "shared/from-the-guest").read_text().strip() == project.directory.name

    def test_tells_where_the_guests_boot_went(self, first_up: Outcome) -> None:
        (boot,) = first_up.of_type("guest_boot")
        at = {stage["name"]: stage["start_ms"] for stage in boot["stages"]}
        assert at["kernel"] == 0 < at["local-fs.target"] < at["rum-agent"] < at["cloud-config"], boot
        assert 1 <= len(boot["modules"]) <= 5
        assert sum(module["took_ms"] for module in boot["modules"]) > 0

    def test_the_agent_comes_before_ssh_and_the_network(self, first_up: Outcome) -> None:
        (boot,) = first_up.of_type("guest_boot")
        up = {stage["name"]: stage["start_ms"] + (stage["took_ms"] or 0) for stage in boot["stages"]}
        assert up["rum-agent"] < min(up["ssh"], up["network-online.target"]), boot

    def test_cloud_init_has_done_what_an_image_needs(self, project: Project, first_up: Outcome) -> None:
        grown = project.guest("df --block-size=1M --output=size / | tail -n 1")
        assert int(grown) > 3000, "the root disk has grown to what rum.toml says"
        assert project.guest("hostname").strip() == project.directory.name
        project.guest("getent hosts $(hostname) && ls /etc/ssh/ssh_host_ed25519_key && locale && apt-cache policy")
        assert project.guest("cloud-init status").strip() == "status: done"

    def test_names_accelerator_and_transport(self, project: Project, first_up: Outcome) -> None:
        status = project.status()
        assert status["accelerator"] in ("kvm", "tcg")
        assert status["transport"] in ("vhost-vsock", "vhost-user")


class TestReboot:
    def test_boot_script_runs_by_itself_and_the_system_script_does_not(
        self, project: Project, first_up: Outcome, follower: Live
    ) -> None:
        follower.wait_for(lambda event: event["type"] == "result", within_s=30 * project.patience)
        project.rum("exec", "--", "systemctl", "reboot")
        project.wait_for_console("boot-marker-9e42 done 2")
        for _ in poll(30 * project.patience, "the autonomous run's end"):
            if project.status()["agent"] and not project.status()["agent"]["run"]:
                break
        assert project.guest("wc -l < /var/tmp/system-runs").strip() == "1"
        assert project.guest("wc -l < /var/tmp/boot-runs").strip() == "2"

    def test_a_follower_sees_the_run_of_the_new_boot(self, project: Project, follower: Live) -> None:
        started = follower.wait_for(lambda event: event["type"] == "run_started", within_s=30 * project.patience)
        assert (started["trigger"], started["first_boot"]) == ("boot", False)
        output = follower.wait_for(lambda event: event["type"] == "output", within_s=30 * project.patience)
        assert "number 2 first=0" in output["text"]
        follower.wait_for(lambda event: event["type"] == "result", within_s=30 * project.patience)

    def test_logs_show_the_autonomous_run(self, project: Project) -> None:
        logs = project.rum("-o", "json", "logs")
        assert logs.exit == 0, logs.stderr
        assert logs.of_type("run_started")[-1]["trigger"] == "boot"
        assert "number 2 first=0" in logs.output("boot")

    def test_drive_and_mount_are_there_again(self, project: Project) -> None:
        project.guest("test -e /srv/data/kept -a -e /srv/shared/from-the-guest")

    def test_up_after_it_has_nothing_to_do(self, project: Project) -> None:
        project.up()
        assert project.guest("wc -l < /var/tmp/boot-runs").strip() == "2"

    def test_down_and_up_run_the_boot_script_once(self, project: Project, follower: Live) -> None:
        assert project.rum("down").exit == 0
        followed = follower.finish(within_s=30 * project.patience)
        assert followed.exit == 0, followed.stderr
        assert project.status()["state"] == "stopped"
        again = project.up()
        assert "number 3 first=0" in again.output("boot"), "the boot's run is shown, whoever started it"
        assert project.guest("wc -l < /var/tmp/boot-runs").strip() == "3"
        assert project.guest("wc -l < /var/tmp/system-runs").strip() == "1"


class TestArtifacts:
    def test_the_seed_holds_the_bare_minimum(self, project: Project, tmp_path: Path) -> None:
        files = read_iso(project, tmp_path)
        assert set(files) == {"user-data", "meta-data", "network-config"}
        for forbidden in ("rum-system.service", "rum-boot.service", "rum-drives.sh", "marker", "a between"):
            assert all(forbidden not in text for text in files.values())
        config = yaml.safe_load(files["user-data"])
        assert config["runcmd"][1:] == [
            ["systemctl", "daemon-reload"],
            ["systemctl", "enable", "--now", "rum-agent.service"],
        ]
        assert {entry["path"] for entry in config["write_files"]} == {
            "/usr/local/bin/rum-agent",
            "/etc/systemd/system/rum-agent.service",
            "/etc/rum/key",
        }

    def test_the_guest_holds_no_script_outside_the_agents_own_directory(self, project: Project) -> None:
        found = project.guest(
            "find / -xdev \\( -name rum-system.service -o -name rum-boot.service -o -name rum-drives.sh \\); "
            "grep -rlE 'system-marker-7c1d|boot-marker-9e42' /etc /usr/local /opt /root /home /srv /var/lib/cloud "
            "/run/cloud-init /var/log 2>/dev/null | grep -v '^/var/log/journal' || true"
        )
        assert found == ""

    def test_editing_a_script_leaves_the_seed_alone(self, project: Project) -> None:
        (before,) = project.state_dir.glob("seed-*.iso")
        stamp = before.stat().st_mtime_ns
        (project.directory / "a-between.sh").write_text("#!/bin/bash\necho edited\n")
        outcome = project.up()
        assert outcome.result()["changed"] == ["a-between"]
        (after,) = project.state_dir.glob("seed-*.iso")
        assert (after, after.stat().st_mtime_ns) == (before, stamp)

    def test_provision_system_applies_the_edit(self, project: Project) -> None:
        project.guest("touch /run/host-has-seen-it")
        outcome = project.rum("-o", "json", "provision", "--system")
        assert outcome.exit == 0, outcome.stdout
        assert "edited" in outcome.output("a-between")
        assert project.up().result()["changed"] == []
