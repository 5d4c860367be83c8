"""`rum completion`, and what the shells call through it."""

from __future__ import annotations

import os
import sys

import click
from click.shell_completion import get_completion_class, shell_complete

from rum.host.cli.help import command
from rum.host.cli.options import Options, global_options
from rum.host.cli.root import cli
from rum.host.json_lines.answers import Completion

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_RUM_COMPLETE"
"""Set by the script that a shell has of us, whenever it wants to know what may come next."""

ZSH_CALL = '    _rum_completion "$@"\n'


@command(
    examples=[
        "rum completion bash > ~/.local/share/bash-completion/completions/rum",
        "rum completion zsh > ~/.zfunc/_rum     # a directory of $fpath",
        "rum completion fish > ~/.config/fish/completions/rum.fish",
        "source <(rum completion bash)     # for this shell only",
    ]
)
@global_options
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_obj
def completion(options: Options, shell: str) -> int:
    """Print what makes TAB work.

    It completes commands, options and their values; scripts and runs by the rum.toml that is there, images by name.
    """
    script = script_for(shell)
    options.renderer.show(Completion(type="completion", shell=shell, script=script), script.splitlines())
    return 0


def script_for(shell: str) -> str:
    """The script, as click makes it."""
    made = get_completion_class(shell)
    assert made is not None
    text = made(cli, {}, "rum", VARIABLE).source()
    # zsh loads the file at the first TAB; click's then registers the function at the second one, and only at the third
    # is it called again.
    return text.replace(ZSH_CALL, f"    compdef _rum_completion rum\n{ZSH_CALL}") if shell == "zsh" else text


def complete() -> int:
    """Answer the shell; its exit status. Whatever goes wrong is not shown: it would stand in a half-typed line."""
    if os.environ.get("RUM_DEBUG") != "1":
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the process's life
    return shell_complete(cli, {"obj": Options()}, "rum", VARIABLE, os.environ[VARIABLE])
