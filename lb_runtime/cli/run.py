"""`lb run`: run one kernel of a file across both devices, and tell how it went."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lb_runtime.arguments import HostValue
from lb_runtime.cli import series_report
from lb_runtime.cli.console import bar, status
from lb_runtime.cli.devices import role_options
from lb_runtime.cli.launches import (
    ChosenLaunch,
    Share,
    choose_kernel,
    choose_launch,
    judging_options,
    kernel_options,
    launch_options,
)
from lb_runtime.cli.run_report import as_json, show
from lb_runtime.runtime import CPU, GPU, Runtime
from lb_runtime.series import run_series
from lb_runtime.shares.policy import POLICY_NAMES, PolicyName
from lb_runtime.trial import Trial, run_trial


@click.command("run")
@kernel_options
@launch_options
@role_options
@judging_options
@click.option(
    "--split",
    "--share",
    "share",
    type=Share(),
    default="auto",
    show_default=True,
    help="The CPU's share of the work; auto asks the model.",
)
@click.option(
    "--policy",
    type=click.Choice(POLICY_NAMES),
    help="How launches are shared out; a share that is given is fixed. adaptive where there are --launches.",
)
@click.option(
    "--launches",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Launch so many times, so that a policy can learn.",
)
@click.option(
    "--repeat",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Run so many times, each from the same data; medians are shown.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of random arguments."
)
@click.option(
    "--verify", is_flag=True, help="Run unsplit too and compare all bytes; status 1 if they differ."
)
@click.option("--compare", is_flag=True, help="Time each device alone too.")
@click.option("--json", "wants_json", is_flag=True, help="Print JSON.")
def command(
    path: Path,
    name: str | None,
    build_options: str | None,
    global_size: tuple[int, ...] | None,
    local_size: tuple[int, ...] | None,
    offset: tuple[int, ...] | None,
    specs: tuple[str, ...],
    cpu: str | None,
    gpu: str | None,
    exact: bool | None,
    strict: bool | None,
    share: float | None,
    policy: PolicyName | None,
    launches: int,
    repeat: int,
    seed: int,
    verify: bool,
    compare: bool,
    wants_json: bool,
) -> int:
    """Run a kernel, split across the CPU and the GPU where that is safe.

    Kernels of ours carry a default launch. Of others, what you do not give (the global size, a SPEC
    for an argument) is chosen from what the kernel does with it, and printed.
    """
    if policy is not None or launches > 1:
        _check_series(policy, share, repeat)
    choice = choose_kernel(path, name, build_options)
    chosen = choose_launch(choice, global_size, local_size, offset, specs, seed)
    chosen.refuse_danger()
    values = chosen.values(seed)
    if policy is not None or launches > 1:
        with Runtime(cpu, gpu, exact=exact, strict=strict) as runtime:
            return _run_series(
                runtime,
                chosen,
                values,
                policy or ("adaptive" if share is None else "fixed"),
                share,
                launches,
                path,
                verifies=verify,
                compares=compare,
                wants_json=wants_json,
            )
    with Runtime(cpu, gpu, exact=exact, strict=strict) as runtime, status("running") as tell:
        trial = run_trial(
            runtime,
            Trial(
                choice.kernel,
                chosen.assumed.launch.nd_range,
                tuple(values),
                share,
                repeat=repeat,
                wants_verification=verify,
                alone=(CPU, GPU) if compare else (),
            ),
            lambda done: tell(f"running: {done} launches done"),
        )
    if wants_json:
        click.echo(json.dumps({**as_json(trial), "assumed": chosen.as_json()}))
    else:
        chosen.tell()
        show(trial, path)
    return 0 if trial.verification is None or trial.verification.ok else 1


def _check_series(policy: PolicyName | None, share: float | None, repeat: int) -> None:
    if repeat > 1:
        raise click.UsageError(
            f"--repeat {repeat} given beside --policy or --launches: give --launches alone for launches "
            "that a policy learns from, or --repeat alone for one cut"
        )
    if share is not None and policy not in (None, "fixed"):
        raise click.UsageError(
            f"--policy {policy} given beside a share, which is fixed: leave one of them away"
        )
    if share is None and policy == "fixed":
        raise click.UsageError("--policy fixed given without a share: give --share, such as 0.3")


def _run_series(
    runtime: Runtime,
    chosen: ChosenLaunch,
    values: list[HostValue],
    policy: PolicyName,
    share: float | None,
    launches: int,
    path: Path,
    *,
    verifies: bool,
    compares: bool,
    wants_json: bool,
) -> int:
    """Launch as a policy chooses, and report; the exit status."""
    with bar("launching", launches) as tell:
        series = run_series(
            runtime,
            chosen.choice.kernel,
            chosen.assumed.launch.nd_range,
            values,
            policy,
            share,
            launches,
            compares=compares,
            verifies=verifies,
            progress=lambda step: tell(),
        )
    why = runtime.devices.pair.why
    if wants_json:
        report = {**series_report.as_json(series, why), "assumed": chosen.as_json()}
        click.echo(json.dumps(report))
    else:
        chosen.tell()
        series_report.show(series, path, why)
    return 0 if series.verification is None or series.verification.ok else 1
