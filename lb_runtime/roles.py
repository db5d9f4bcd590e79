"""Which device plays CPU and which plays GPU: a pure choice over `DeviceInfo` values.

In this order: a real GPU (or accelerator) with a CPU; two CPU platforms; one device cut in two. The
user's choice comes first: an index, or a part of a platform's or device's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

from lb_runtime.devices import NO_PLATFORM, DeviceInfo, DeviceKind
from lb_runtime.errors import DeviceError
from lb_runtime.records import dataclass

CPU_VARIABLE = "LB_CPU"
GPU_VARIABLE = "LB_GPU"


class Cut(Enum):
    """How one device is made to play both roles."""

    NONE = "two devices"
    EQUALLY = "two sub-devices, equally"
    BY_COUNTS = "two sub-devices, by counts"
    QUEUES = "two queues of the same device"


@dataclass(frozen=True, slots=True)
class DevicePair:
    """The device that plays CPU, the one that plays GPU, how one is cut to play both, and why.

    `why` is one line for the user.
    """

    cpu: DeviceInfo
    gpu: DeviceInfo
    cut: Cut
    why: str

    def __post_init__(self) -> None:
        if (self.cut is Cut.NONE) == (self.cpu.index == self.gpu.index):
            raise DeviceError(
                f"devices {self.cpu.index} and {self.gpu.index} given with {self.cut.value!r}: "
                "expected a cut exactly where both are the same device"
            )

    @property
    def gain_possible(self) -> bool:
        """Whether a split can be faster than one device: not where both roles share one device."""
        return self.cut is Cut.NONE


def requested(
    cpu: str | int | None, gpu: str | int | None, environment: Mapping[str, str]
) -> tuple[str | None, str | None]:
    """The selectors to use: those given, else `LB_CPU` and `LB_GPU`; an empty one counts as none."""
    given = [
        environment.get(variable, "") if selector is None else str(selector)
        for selector, variable in ((cpu, CPU_VARIABLE), (gpu, GPU_VARIABLE))
    ]
    return given[0].strip() or None, given[1].strip() or None


def choose_pair(
    devices: Sequence[DeviceInfo], cpu: str | None = None, gpu: str | None = None
) -> DevicePair:
    """Give out the two roles.

    `cpu` and `gpu` are selectors (`select`); a role without one is given to the best device that is
    left. Raises `DeviceError` for a bad selector, or when no device is usable.
    """
    usable = [device for device in devices if device.usable]
    if not usable:
        raise DeviceError(
            f"none of these devices can run a kernel: {_listing(devices)}"
            if devices
            else NO_PLATFORM
        )
    if cpu is None and gpu is None:
        return _automatic_pair(usable)
    if cpu is not None and gpu is not None:
        as_cpu, as_gpu = select(devices, cpu, "CPU"), select(devices, gpu, "GPU")
        why = "both were asked for"
    elif cpu is not None:
        as_cpu = select(devices, cpu, "CPU")
        others = _without(usable, as_cpu)
        as_gpu = _best_gpu(others) or _best_cpu(others) or as_cpu
        why = f"device {as_cpu.index} was asked for as the CPU, {_left_over(as_gpu, as_cpu)}"
    elif gpu is not None:
        as_gpu = select(devices, gpu, "GPU")
        others = _without(usable, as_gpu)
        as_cpu = _best_cpu(others) or _best_gpu(others) or as_gpu
        why = f"device {as_gpu.index} was asked for as the GPU, {_left_over(as_cpu, as_gpu)}"
    if as_cpu.index == as_gpu.index:
        return _cut_in_two(as_cpu, why)
    return DevicePair(as_cpu, as_gpu, Cut.NONE, why)


def select(devices: Sequence[DeviceInfo], selector: str, role: str) -> DeviceInfo:
    """The one device that `selector` names: an index, or a part of its platform's or its own name.

    Letter case does not matter, and a whole name goes before a part of one. Raises `DeviceError` when
    none or several match, or the one that does is unusable; the message lists what there is.
    """
    wanted = selector.strip().lower()
    if wanted.isdecimal():
        matching = [device for device in devices if device.index == int(wanted)]
    else:
        matching = [
            device
            for device in devices
            if wanted in (device.name.lower(), device.platform_name.lower())
        ] or [
            device
            for device in devices
            if (
                wanted and (wanted in device.name.lower() or wanted in device.platform_name.lower())
            )
            or (wanted == "pocl" and device.is_pocl)
        ]
    if len(matching) != 1:
        found = "no device" if not matching else f"{len(matching)} devices"
        raise DeviceError(
            f"{selector!r} given as the {role} matches {found}: give an index or a part of a name "
            f"that only one has, of {_listing(devices)}"
        )
    if not matching[0].usable:
        raise DeviceError(
            f"{selector!r} given as the {role} is unusable ({matching[0].unusable_because}): "
            f"choose from {_listing(devices)}"
        )
    return matching[0]


def _automatic_pair(usable: Sequence[DeviceInfo]) -> DevicePair:
    gpu = _best_gpu(usable)
    cpu = _best_cpu(usable)
    if gpu is not None and cpu is not None:
        kind = "GPU" if gpu.kind is DeviceKind.GPU else "accelerator"
        return DevicePair(cpu, gpu, Cut.NONE, f"there is a real {kind}, and a CPU device beside it")
    if gpu is not None:
        second = _best_gpu(_without(usable, gpu))
        if second is None:
            return _cut_in_two(gpu, "it is the only device")
        why = "there is no CPU device: the slower accelerator plays CPU"
        return DevicePair(second, gpu, Cut.NONE, why)
    if cpu is None:
        return _cut_in_two(usable[0], "it is the only device")
    first = next((device for device in usable if device.is_pocl), cpu)
    second = next((d for d in usable if d.platform_name != first.platform_name), None)
    if second is None:
        return _cut_in_two(first, "there is no GPU and no second CPU platform")
    player = "PoCL plays CPU" if first.is_pocl else "the first plays CPU"
    why = f"there is no GPU, but two CPU platforms: {player}, {second.platform_name} plays GPU"
    return DevicePair(first, second, Cut.NONE, why)


def _best_gpu(devices: Sequence[DeviceInfo]) -> DeviceInfo | None:
    """GPUs before accelerators, own memory before the host's, then compute units times clock."""
    return min(
        (device for device in devices if device.is_real_accelerator),
        key=lambda device: (
            device.kind is not DeviceKind.GPU,
            device.unified_memory,
            -device.compute_units * max(device.clock_mhz, 1),
            device.index,
        ),
        default=None,
    )


def _best_cpu(devices: Sequence[DeviceInfo]) -> DeviceInfo | None:
    """A vendor's driver before PoCL: it was the faster one in seven of nine measured kernels."""
    return min(
        (device for device in devices if not device.is_real_accelerator),
        key=lambda device: (device.kind is not DeviceKind.CPU, device.is_pocl, device.index),
        default=None,
    )


def _without(devices: Sequence[DeviceInfo], taken: DeviceInfo) -> list[DeviceInfo]:
    return [device for device in devices if device.index != taken.index]


def _left_over(device: DeviceInfo, given: DeviceInfo) -> str:
    if device.index == given.index:
        return "and there is no other"
    return f"device {device.index} is the best of the others"


def _cut_in_two(device: DeviceInfo, why: str) -> DevicePair:
    if "equally" in device.partitions and device.compute_units % 2 == 0:
        cut = Cut.EQUALLY
    elif "by counts" in device.partitions:
        cut = Cut.BY_COUNTS
    else:
        cut = Cut.QUEUES
    return DevicePair(
        device, device, cut, f"{why}: it plays both roles as {cut.value}; no gain is to be had"
    )


def _listing(devices: Sequence[DeviceInfo]) -> str:
    return "; ".join(device.label for device in devices)
