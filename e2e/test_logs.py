"""`rum logs` and `rum provision --from` with the VM that is shared: none of it needs a reboot."""

from __future__ import annotations

import signal

import pytest

from e2e.project import Json, Project


def run_lines(project: Project) -> list[Json]:
    """What `rum logs --list` prints of each run."""
    listed = project.rum("-o", "json", "logs", "--list")
    assert listed.exit == 0, listed.stderr
    return listed.of_type("run")


def test_every_run_is_listed_and_can_be_shown_again(vm: Project) -> None:
    provisioned = vm.rum("-o", "json", "provision", "--from", "boot")
    assert provisioned.exit == 0, provisioned.stdout
    assert provisioned.result()["ran"] == ["boot"]
    *_, last = run_lines(vm)
    assert last["run_id"] == provisioned.result()["run_id"]
    assert (last["trigger"], last["success"], last["in_guest"], last["on_host"]) == ("host", True, True, True)
    again = vm.rum("-o", "json", "logs", "--run", last["run_id"][:6])
    assert again.exit == 0, again.stderr
    assert again.output("boot") == provisioned.output("boot")
    assert again.result() == provisioned.result()


def test_a_failed_script_is_shown_alone_with_times(vm: Project) -> None:
    assert vm.rum("logs", "--failed").exit == 0
    wrong = vm.rum("provision", "--from", "no-such-script")
    assert (wrong.exit, "scripts in their order: system, boot" in wrong.stderr) == (2, True)
    stamped = vm.rum("logs", "--script", "boot", "--timestamps").stdout.splitlines()
    assert any(line.startswith("boot | 20") and "Z " in line for line in stamped), stamped


def test_two_followers_see_what_comes_and_leave_it_alone(vm: Project) -> None:
    followers = [vm.start("logs", "--follow") for _ in range(2)]
    try:
        for live in followers:
            live.wait_for(lambda event: event["type"] == "result", within_s=30 * vm.patience)
        again = vm.rum("-o", "json", "provision", "--boot")
        assert again.exit == 0, again.stdout
        for live in followers:
            started = live.wait_for(lambda event: event["type"] == "run_started", within_s=30 * vm.patience)
            assert started["run_id"] == again.result()["run_id"]
            live.wait_for(lambda event: event["type"] == "result", within_s=30 * vm.patience)
            live.process.send_signal(signal.SIGINT)
            assert live.finish(within_s=30 * vm.patience).exit == 130
    finally:
        for live in followers:
            live.process.kill()
            live.process.wait(timeout=10)


def test_the_console_is_shown_from_the_machines_start(vm: Project) -> None:
    console = vm.rum("logs", "--console")
    assert console.exit == 0
    assert "Linux version" in console.stdout
    live = vm.start("logs", "--console", "--follow")
    try:
        live.wait_for(lambda event: "Linux version" in event.get("text", ""), within_s=30 * vm.patience)
        vm.guest("echo console-marker-51d0 > /dev/console")
        live.wait_for(lambda event: "console-marker-51d0" in event.get("text", ""), within_s=30 * vm.patience)
    finally:
        live.process.kill()
        live.process.wait(timeout=10)


@pytest.mark.parametrize("broken", ["[image", 'base = "x"\n[nosuch]\n'])
def test_a_broken_configuration_hides_nothing(vm: Project, broken: str) -> None:
    file = vm.directory / "rum.toml"
    written = file.read_text()
    try:
        file.write_text(broken)
        shown = vm.rum("logs")
        assert (shown.exit, "boot ok" in shown.stdout) == (0, True), shown
    finally:
        file.write_text(written)
