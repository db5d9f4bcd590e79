"""`lb exec`: run a Python program, unchanged, with its kernel launches split where that gains."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import click
from click.core import ParameterSource

from lb_runtime.cli.console import WIDTH_WITHOUT_TERMINAL
from lb_runtime.cli.devices import role_options
from lb_runtime.cli.launches import Share, judging_options
from lb_runtime.program import Kind, Program, take_names_back
from lb_runtime.settings import MODES, POLICIES, Mode, Policy, Settings


class _NewFile(click.Path):
    """A file that is written when the program has ended; a folder that is missing is told before."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, writable=True, path_type=Path)

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        """The absolute path, since the program may go to another folder."""
        path = Path(os.fsdecode(super().convert(str(value), param, ctx))).absolute()
        if not path.parent.is_dir():
            self.fail(f"{str(value)!r}: there is no folder {str(path.parent)!r}", param, ctx)
        return path


@dataclass(frozen=True, slots=True)
class _Ending:
    """What is told when the program has ended, however it ended."""

    shows_report: bool
    json_path: Path | None
    process: int

    def __call__(self) -> None:
        """Finish what is under way, put pyopencl back, and tell."""
        from lb_runtime import intercept

        if os.getpid() != self.process:
            # A child that the program forked ends too, and has nothing to tell.
            return
        intercept.uninstall(at_exit=True)
        if not self.shows_report and self.json_path is None:
            return
        report = intercept.report()
        if self.shows_report and sys.stderr is not None:
            take_names_back()
            from rich.console import Console

            # Streams that end up in one file keep their order.
            with contextlib.suppress(OSError, ValueError, AttributeError):
                sys.stdout.flush()
            width = None if sys.stderr.isatty() else WIDTH_WITHOUT_TERMINAL
            report.render(Console(file=sys.stderr, width=width))
        if self.json_path is not None:
            try:
                self.json_path.write_text(json.dumps(report.to_json(), indent=1) + "\n", "utf-8")
            except OSError as error:
                click.echo(
                    f"lb exec: error: {str(self.json_path)!r} cannot be written: {error.strerror}",
                    err=True,
                )


@click.command(
    "exec",
    # What stands behind the program's name is the program's own.
    context_settings={"allow_interspersed_args": False},
    options_metavar="[OPTIONS]",
)
@click.option(
    "--report", "shows_report", is_flag=True, help="Tell at exit what was done, or why not."
)
@click.option(
    "--report-json",
    "json_path",
    metavar="FILE",
    type=_NewFile(),
    help="The same as JSON, to a file.",
)
@click.option(
    "--trace",
    metavar="FILE",
    type=_NewFile(),
    help="A timeline as JSON, for Perfetto and chrome://tracing [env: LB_TRACE].",
)
@click.option(
    "--mode",
    type=click.Choice(MODES, case_sensitive=False),
    help="on; observe: judge and count, split nothing; off: plain python [env: LB_RUNTIME].",
)
@click.option(
    "--share",
    type=Share(),
    help="The CPU's share of each split launch; auto predicts and measures it [env: LB_SHARE].",
)
@click.option(
    "--policy",
    type=click.Choice(POLICIES, case_sensitive=False),
    help="How shares are chosen; fixed needs --share [env: LB_POLICY; default: adaptive].",
)
@role_options
@judging_options
@click.option("-m", "is_module", is_flag=True, help="PROGRAM is a module's name, as for python -m.")
@click.option(
    "-c", "is_command", is_flag=True, help="PROGRAM is the text itself, as for python -c."
)
@click.argument("program", metavar="PROGRAM")
@click.argument("arguments", metavar="[ARGS]...", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def command(
    context: click.Context,
    shows_report: bool,
    json_path: Path | None,
    trace: Path | None,
    mode: Mode | None,
    share: float | None,
    policy: Policy | None,
    cpu: str | None,
    gpu: str | None,
    exact: bool | None,
    strict: bool | None,
    is_module: bool,
    is_command: bool,
    program: str,
    arguments: tuple[str, ...],
) -> Callable[[], None]:
    """Run a Python program that uses pyopencl, unchanged, on both devices.

    It behaves as under python itself: arguments, exit status, tracebacks, standard streams. Options
    stand before PROGRAM; those of the interpreter go to it: python -X ... -m lb_runtime PROGRAM.
    """
    if is_module and is_command:
        raise click.UsageError("-m and -c given: PROGRAM is a module's name or a text, not both")
    kind = Kind.MODULE if is_module else Kind.COMMAND if is_command else Kind.SCRIPT
    found = Program(kind, program, arguments)
    if problem := found.unreadable():
        raise click.UsageError(problem)
    settings = Settings.from_environment()
    if context.get_parameter_source("share") is ParameterSource.COMMANDLINE:
        settings = replace(settings, share=share)
    settings = replace(
        settings,
        mode=mode or settings.mode,
        policy=policy or settings.policy,
        cpu=cpu or settings.cpu,
        gpu=gpu or settings.gpu,
        exact=exact or settings.exact,
        strict=strict or settings.strict,
        trace=trace or (settings.trace and settings.trace.absolute()),
    )
    if settings.mode == "off":
        if shows_report or json_path:
            click.echo("lb exec: the mode is off: there will be no report", err=True)
        return found.run
    from lb_runtime import intercept

    # The report is printed here, so `uninstall` need not.
    intercept.install(replace(settings, report=False))
    # What the program itself registers is run before this.
    atexit.register(_Ending(shows_report or settings.report, json_path, os.getpid()))
    return partial(found.run, intercept.load)
