"""Which device the programs are told to use, which one is to help, and how a program is run.

The program's device is the first that `PYOPENCL_TEST` names, else PoCL's. The mirror is a device of another
driver; where there is none, the program's device plays both roles.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lb_runtime.devices import DeviceInfo, DeviceKind, discover
from lb_runtime.icd import VENDORS_VARIABLE, make_drivers_visible

ROOT = Path(__file__).parents[2]
NOT_HANDED_ON = frozenset(
    "LB_RUNTIME LB_SHARE LB_POLICY LB_HISTORY LB_FORCE LB_EXACT LB_STRICT LB_TRACE LB_REPORT LB_CPU LB_GPU "
    "PYTEST_ADDOPTS PYOPENCL_CTX".split()
)
"""Variables of the caller that would change what the programs or the drop-in do."""
LIST_SECONDS = 120

_LIST = """
from pyopencl import get_platforms
from pyopencl.tools import get_test_platforms_and_devices
platforms = get_platforms()
everything = [device for platform in platforms for device in platform.get_devices()]
for platform, devices in get_test_platforms_and_devices():
    for device in devices:
        numbers = platforms.index(platform), platform.get_devices().index(device), everything.index(device)
        print(platform.name, device.name, *numbers, sep="\t")
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a device stands: its platform's number, its number there, and its number among all devices."""

    platform: int
    device: int
    overall: int


@dataclass(frozen=True, slots=True)
class Machine:
    """The device that the programs use, its place in a program's lists, and the device that helps it.

    `base` is the environment that programs start from. Where `lb_runtime` makes a driver visible by itself
    (Intel's, from PyPI), programs do not see it.
    """

    device: DeviceInfo
    place: Place
    mirror: DeviceInfo
    base: Mapping[str, str]

    def environment(self, mode: str, *, alone: bool = False, exact: bool = False) -> dict[str, str]:
        """The variables of a process: what it finds of this machine, and how the drop-in behaves.

        Args:
            mode: "stock" (no drop-in), "forced" (every launch that can be is split, from the first on, down
                to one work-group) or "observe".
            alone: let the program's device be the mirror, too.
            exact: split only kernels whose values are the same on every device.
        """
        kept = dict(self.base)
        # By name: should a program see other devices than expected, it fails, and takes none of them.
        names = f"{self.device.platform_name}:{self.device.name}"
        numbers = f"{self.place.platform}:{self.place.device}"
        kept["PYOPENCL_TEST"] = numbers if names.count(":") > 1 or set(names) & set(",;") else names
        if mode == "stock":
            return kept
        kept["PYTHONPATH"] = joined(str(ROOT), kept.get("PYTHONPATH", ""))
        cpu, gpu = self.device, self.device if alone else self.mirror
        if self.device.kind is DeviceKind.GPU:
            cpu, gpu = gpu, cpu
        kept |= {"LB_CPU": str(cpu.index), "LB_GPU": str(gpu.index)}
        if exact:
            kept["LB_EXACT"] = "1"
        if mode == "forced":
            return kept | {"LB_RUNTIME": "on", "LB_FORCE": "1", "LB_SHARE": "0.5"}
        return kept | {"LB_RUNTIME": mode}

    def turned(self) -> Machine | None:
        """The other way round: programs use the mirror. None where there is one driver only."""
        if self.mirror.index == self.device.index:
            return None
        base = {name: text for name, text in self.base.items() if name != "PYOPENCL_TEST"}
        if folder := make_drivers_visible().vendors_folder:
            base[VENDORS_VARIABLE] = str(folder)
        place = _places(base)[self.mirror.platform_name, self.mirror.name]
        return Machine(self.mirror, place, self.device, base)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended: its exit status (negative: the signal that did it), and what it wrote."""

    status: int
    output: str
    errors: str
    stopped: bool = False

    def tail(self, lines: int = 30) -> str:
        """The last lines of both streams, for a message."""
        how = "stopped, since it took too long" if self.stopped else f"exit status {self.status}"
        shown = self.output.splitlines()[-lines:] + self.errors.splitlines()[-lines:]
        return "\n".join([how, *shown])


def this_machine() -> Machine:
    """The devices that are there: as a program finds them by itself, and as `lb devices` lists them.

    Raises:
        OSError: there is no device that programs could use.
    """
    found = discover()
    base = {name: text for name, text in os.environ.items() if name not in NOT_HANDED_ON}
    if base.get(VENDORS_VARIABLE) == str(make_drivers_visible().vendors_folder):
        # Set in this process by us, and not for programs.
        del base[VENDORS_VARIABLE]
    places = _places(base)
    usable = [
        each for each in found.devices if each.usable and (each.platform_name, each.name) in places
    ]
    if base.get("PYOPENCL_TEST"):
        # What it names stands first in the list.
        usable = [each for each in usable if (each.platform_name, each.name) == next(iter(places))]
    if not usable:
        raise OSError(f"no usable OpenCL device among those that a program finds: {list(places)}")
    device = next((each for each in usable if each.is_pocl), usable[0])
    others = (each for each in found.devices if each.platform_name != device.platform_name)
    mirror = next((each for each in others if each.usable), device)
    return Machine(device, places[device.platform_name, device.name], mirror, base)


def _places(environment: Mapping[str, str]) -> dict[tuple[str, str], Place]:
    """Where devices stand for a program with this environment, by the names of platform and device.

    A process of its own is asked: in this one, drivers are visible that a program does not see.
    """
    listed = run(
        [sys.executable, "-c", _LIST], folder=ROOT, environment=environment, seconds=LIST_SECONDS
    )
    if listed.status != 0:
        raise OSError(f"the OpenCL devices cannot be listed: {listed.tail()}")
    places: dict[tuple[str, str], Place] = {}
    for line in listed.output.splitlines():
        platform, name, *numbers = line.split("\t")
        places.setdefault((platform, name), Place(*map(int, numbers)))
    return places


def joined(*paths: str) -> str:
    """Folders as a variable names them; empty ones are left out."""
    return os.pathsep.join(path for path in paths if path)


def run(
    command: Sequence[str], *, folder: Path, environment: Mapping[str, str], seconds: float
) -> Ended:
    """Run a program to its end, or stop it with all that it started when its time is over."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    # Some of pyopencl's tests take gigabytes: should memory run out, it is not another program that goes.
    with suppress(OSError):
        Path(f"/proc/{process.pid}/oom_score_adj").write_text("1000")
    try:
        output, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, errors = process.communicate()
        return Ended(process.returncode, output, errors, stopped=True)
    return Ended(process.returncode, output, errors)
