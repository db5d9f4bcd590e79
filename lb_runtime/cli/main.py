"""The command `lb`: its subcommands, and errors as one line with a non-zero exit status."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click

SUBCOMMANDS = {
    "bench": "Measure kernels in all ways of sharing them out, and report it.",
    "devices": "Show the OpenCL devices, and which plays CPU and which GPU.",
    "exec": "Run a Python program unchanged, its launches split across both.",
    "explain": "Say whether a kernel can be split, and why.",
    "graph": "Show a kernel's program graph.",
    "history": "Show or clear what was learned about launches on this machine.",
    "predict": "Predict the CPU fraction of a launch.",
    "run": "Run a kernel, split across the CPU and the GPU.",
    "tune": "Measure this machine, and fit the model to it.",
}
"""Subcommand -> what it does. Each is a module of this package, loaded when it is asked for."""


STOPPED = 130
"""The exit status after Ctrl-C, as shells give it."""


class _Lazy(click.Group):
    """A group whose commands are imported only when they run: help needs no OpenCL."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the subcommands."""
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a subcommand."""
        if cmd_name not in SUBCOMMANDS:
            return None
        module = import_module(f"lb_runtime.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(SUBCOMMANDS.items()))


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="lb-runtime", prog_name="lb")
def lb() -> None:
    """Run OpenCL kernels on the CPU and the GPU at the same time."""


def main(arguments: list[str] | None = None) -> None:
    """Run `lb` and exit: 0 when all is well, 1 for an error, 2 for a wrong command line."""
    status = run(arguments)
    if status == STOPPED:
        # Drivers go on with kernels that were launched, and would keep the process until they end.
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(status)
    sys.exit(status)


def run(arguments: list[str] | None = None) -> int:
    """Run `lb` and return its exit status; every error of ours is one line on standard error.

    What the program of `lb exec` raises passes through, to the interpreter that it expects above it.
    """
    try:
        result: Any = lb.main(args=arguments, prog_name="lb", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("lb: stopped", err=True)
        return STOPPED
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 2
    except click.ClickException as error:
        where = (
            error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "lb"
        )
        click.echo(f"{where}: error: {_one_line(error.format_message())}", err=True)
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output is gone; keep the interpreter from flushing into it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if not _is_ours(error):
            raise
        click.echo(f"lb: error: {_one_line(str(error))}", err=True)
        return 1
    if callable(result):
        # A user's program: neither click nor we have a say in what it raises.
        result = result()
    return result if isinstance(result, int) else 0


def _is_ours(error: Exception) -> bool:
    """Whether an error carries a message for the user: ours, a driver's, or the machine's."""
    from lb_runtime.errors import LoadBalancerError
    from predictor.errors import PredictorError

    if isinstance(error, LoadBalancerError | PredictorError | OSError | MemoryError):
        return True
    return type(error).__module__.startswith("pyopencl")


def _one_line(text: str) -> str:
    return " ".join(text.split())
