"""The machine in the middle: what a Debian must have to run the end-to-end tests as an ordinary user under KVM."""

from e2e.images import guestfiles
from e2e.images.recipes import Recipe

SUITE = "bookworm"
PYTHON = "3.11"
"""What that suite's python3 is: the tests' environment is made outside, for this version."""

USER = "runner"
USER_ID = 1000
WORK = "/work"
"""Where the disk with the checkout, the environment and the images is mounted; the user owns its root."""
WORK_LABEL = "rum-work"
JOB = f"{WORK}/job"
"""The program that the machine runs as that user."""

OUTPUT_PORT = "rum.output"
STATUS_PORT = "rum.status"
ARTIFACTS_PORT = "rum.artifacts"
"""virtio-serial ports: what the job prints, its exit status as a decimal number, a tar archive of what it leaves."""

_PACKAGES = (
    "e2fsprogs",
    "git",
    "grub-cloud-amd64",
    "init",
    "iproute2",
    "libvirt-clients",
    "libvirt-daemon",
    "libvirt-daemon-driver-qemu",
    "linux-image-cloud-amd64",
    "openssh-client",
    "ovmf",
    "procps",
    "python3",
    "python3-libvirt",
    "qemu-system-x86",
    "qemu-utils",
    "udev",
    "uidmap",
    "util-linux",
    "xorriso",
    "zstd",
)

_FILES = {
    # udev gives both devices to group kvm; who is in it needs no root.
    "etc/modules-load.d/rum.conf": "kvm_amd\nvhost_vsock\n",
    "etc/sysusers.d/rum.conf": f'u {USER} {USER_ID} "runs the tests" /home/{USER} /bin/bash\nm {USER} kvm\n',
    "etc/tmpfiles.d/rum.conf": f"d /home/{USER} 0700 {USER} {USER}\n",
    "etc/subuid": f"{USER}:100000:65536\n",
    "etc/subgid": f"{USER}:100000:65536\n",
    "etc/systemd/system/work.mount": f"""\
[Unit]
Description=What the tests are given
OnFailure=poweroff.target

[Mount]
What=/dev/disk/by-label/{WORK_LABEL}
Where={WORK}
""",
    # The status is written last: where it is missing, the machine died.
    "etc/systemd/system/rum-job.service": f"""\
[Unit]
Description=The job on the work disk
Requires=work.mount
# The ports are not there before udev has named them, and a file that is missing would be created.
Wants=systemd-udev-settle.service
After=work.mount systemd-udev-settle.service systemd-modules-load.service
SuccessAction=poweroff-force
FailureAction=poweroff-force

[Service]
Type=exec
# The VMs that a broken test has left behind.
KillSignal=SIGKILL
User={USER}
WorkingDirectory={WORK}
ExecStart={JOB}
StandardOutput=file:/dev/virtio-ports/{OUTPUT_PORT}
StandardError=inherit
ExecStopPost=+/bin/sh -c 'tar -C {WORK} -cf /dev/virtio-ports/{ARTIFACTS_PORT} artifacts'
ExecStopPost=+/bin/sh -c 'echo "$${{EXIT_STATUS}}" > /dev/virtio-ports/{STATUS_PORT}'
""",
}

# What keeps programs from each other's secrets costs an emulated processor dearly, and there is one user. A kernel that
# has panicked restarts, which is the end of the machine.
_GRUB_CFG = "boot/grub/grub.cfg"
_COMMON = guestfiles.common_files(SUITE, ())
_KERNEL = {_GRUB_CFG: _COMMON[_GRUB_CFG].replace(" ro ", " ro mitigations=off panic=-1 ")}

_LINKS = {
    # A getty hangs up the line that the kernel's last words would come over.
    "etc/systemd/system/serial-getty@ttyS0.service": "/dev/null",
    "etc/systemd/system/multi-user.target.wants/rum-job.service": "../rum-job.service",
}

KVM_RUNNER = Recipe(
    name="kvm-runner",
    suite=SUITE,
    packages=_PACKAGES,
    files={**_COMMON, **_KERNEL, **_FILES},
    links=_LINKS,
    # A machine without a network has nothing to wait for.
    units=("getty@tty1.service",),
    pockets=("updates", "security"),
)
