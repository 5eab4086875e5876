"""Print the code that completes mlbox commands in a shell.

Options, commands, and the names of the box's own runs and platforms are completed."""

from __future__ import annotations

import argparse
import sys

EXAMPLES = """\
examples:
  bash:  mlbox completion bash >> ~/.bash_completion
  zsh:   mlbox completion zsh > ~/.zfunc/_mlbox      (with 'fpath+=~/.zfunc' before compinit)
  fish:  mlbox completion fish > ~/.config/fish/completions/mlbox.fish"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell")


def execute(arguments: argparse.Namespace) -> int:
    """Print the code."""
    from argcomplete.shell_integration import shellcode

    sys.stdout.write(shellcode(["mlbox", "mlcommons_box"], shell=arguments.shell) + "\n")
    return 0
