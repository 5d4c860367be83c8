"""What the machine in the middle is made of."""

from __future__ import annotations

import subprocess
from pathlib import Path

from e2e.nested.recipe import ARTIFACTS_PORT, JOB, KVM_RUNNER, OUTPUT_PORT, STATUS_PORT


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    units = {Path(name).name: text for name, text in KVM_RUNNER.files.items() if "/systemd/system/" in name}
    assert set(units) == {"work.mount", "rum-job.service"}
    for name, text in units.items():
        # The job is on the work disk, so a program that is here stands for it.
        (tmp_path / name).write_text(text.replace(f"ExecStart={JOB}", "ExecStart=/bin/true"))
    verify = ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in units)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_status_is_the_last_that_leaves_the_machine() -> None:
    """Where there is one, everything else has come out."""
    lines = KVM_RUNNER.files["etc/systemd/system/rum-job.service"].splitlines()
    places = [
        next(n for n, line in enumerate(lines) if port in line) for port in (OUTPUT_PORT, ARTIFACTS_PORT, STATUS_PORT)
    ]
    assert places == sorted(places)


def test_the_tests_are_run_by_nobody_special() -> None:
    assert "u runner 1000 " in KVM_RUNNER.files["etc/sysusers.d/rum.conf"]
    assert "m runner kvm\n" in KVM_RUNNER.files["etc/sysusers.d/rum.conf"]
    assert "\nUser=runner\n" in KVM_RUNNER.files["etc/systemd/system/rum-job.service"]


def test_the_kernel_is_told_to_be_fast_and_not_to_stand_still_after_a_panic() -> None:
    options = "root=LABEL=root ro mitigations=off panic=-1 console=tty0"
    assert f"linux /vmlinuz {options}" in KVM_RUNNER.files["boot/grub/grub.cfg"]
