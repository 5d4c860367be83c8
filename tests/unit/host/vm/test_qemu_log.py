"""Where the log of a domain's QEMU is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from rum.host.vm.qemu_log import qemu_log_tail


def test_qemu_s_log_is_read_where_a_session_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "libvirt/qemu/log").mkdir(parents=True)
    (tmp_path / "libvirt/qemu/log/rum-a.log").write_text("one\ntwo\nthree\n")
    assert qemu_log_tail("qemu:///session", "rum-a", 2) == ["two", "three"]
    assert qemu_log_tail("qemu:///session", "rum-b", 2) == []
