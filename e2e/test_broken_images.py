"""Images that can never answer: the command says what they lack, and does not just time out."""

from __future__ import annotations

import pytest

from e2e.conftest import MakeProject, build_image


@pytest.mark.parametrize(
    ("recipe", "missing"),
    [("debian-12-no-cloud-init", "cloud-init"), ("debian-12-no-python", "Python")],
)
def test_says_what_the_image_lacks(make_project: MakeProject, recipe: str, missing: str) -> None:
    project = make_project(recipe, base=build_image(recipe))
    project.configure(project.with_boot_timeout(24))
    outcome = project.rum("up")
    assert outcome.exit == 4, outcome.stderr
    assert missing in outcome.stderr
    assert "login:" in outcome.stderr, "the console's tail is shown"
    assert "Traceback" not in outcome.stderr + outcome.stdout
    assert project.status()["state"] == "running", "it can be looked at"
