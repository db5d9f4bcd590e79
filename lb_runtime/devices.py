"""Which OpenCL devices this machine has, as values.

`discover` asks every platform once and returns `DeviceInfo` values; nothing else of this package needs
a driver to decide anything. pyopencl is imported inside the functions that ask, so that importing this
module costs nothing and queries nothing.
"""

from __future__ import annotations

import os
import re
from enum import Enum
from typing import TYPE_CHECKING

from lb_runtime.errors import DeviceError
from lb_runtime.icd import make_drivers_visible
from lb_runtime.launch import MAX_ITEMS, NDRange
from lb_runtime.records import dataclass

if TYPE_CHECKING:
    import pyopencl as cl

NO_PLATFORM = (
    'no OpenCL platform found: pip install "pyopencl[pocl]" brings one that runs on any CPU'
)


class DeviceKind(Enum):
    """What a device says that it is (CL_DEVICE_TYPE)."""

    CPU = "CPU"
    GPU = "GPU"
    ACCELERATOR = "accelerator"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """One device of one platform.

    `index` counts the devices of all platforms in the order that the loader lists them. `partitions`
    are the ways in which the device can be cut in two: some of "equally" and "by counts".
    `non_uniform_groups` tells that the last work-groups of a launch may be smaller than the others,
    `keeps_denormals` that floats too small for a full mantissa are not taken for zero.
    `unusable_because` is empty for a device that can run a kernel.
    """

    index: int
    platform_name: str
    platform_version: str
    name: str
    kind: DeviceKind
    compute_units: int
    clock_mhz: int
    global_memory_bytes: int
    local_memory_bytes: int
    max_group_items: int
    address_bits: int
    unified_memory: bool
    driver_version: str
    opencl_c_version: str
    extensions: tuple[str, ...]
    partitions: tuple[str, ...] = ()
    non_uniform_groups: bool = False
    keeps_denormals: bool = True
    unusable_because: str = ""

    def __post_init__(self) -> None:
        if self.index < 0:
            raise DeviceError(f"device index {self.index} given, expected at least 0")

    @property
    def usable(self) -> bool:
        """Whether the device is there and its platform can compile for it."""
        return not self.unusable_because

    @property
    def is_pocl(self) -> bool:
        """Whether the Portable Computing Language drives it."""
        return "portable computing language" in self.platform_name.lower()

    @property
    def is_real_accelerator(self) -> bool:
        """Whether it is a GPU or an accelerator, and not one that a CPU emulates."""
        emulated = "emulat" in f"{self.platform_name} {self.name}".lower()
        return self.kind in (DeviceKind.GPU, DeviceKind.ACCELERATOR) and not emulated

    @property
    def max_id_items(self) -> int:
        """The global ids that its compiler computes right are below this.

        Intel's CPU compiler computes ids in 32 bits where it vectorises `get_global_id(d)` of a `d` that
        it does not know, or a sum with `get_group_id` (measured with 2026.22.10).
        """
        if self.kind is DeviceKind.CPU and self.platform_name.startswith("Intel"):
            return 1 << 31
        return min(1 << self.address_bits, MAX_ITEMS)

    def cannot_run(self, nd_range: NDRange) -> str:
        """Why it does not run a launch over a whole range right, or at all; empty where it does."""
        if nd_range.group_items > self.max_group_items:
            return (
                f"local size {nd_range.local_size} has {nd_range.group_items} items a group, but "
                f"{self.label} runs at most {self.max_group_items}"
            )
        if nd_range.non_uniform and not self.non_uniform_groups:
            return (
                f"local size {nd_range.local_size} does not divide global size "
                f"{nd_range.global_size}, and {self.label} runs only work-groups of one size"
            )
        for dimension, (start, total) in enumerate(zip(nd_range.offset, nd_range.global_size)):
            if start + total > self.max_id_items:
                return (
                    f"global ids of dimension {dimension} reach {start + total - 1}, and {self.label} "
                    f"computes them right only below {self.max_id_items}"
                )
        return ""

    @property
    def label(self) -> str:
        """How messages name it: `0: AMD EPYC (Intel(R) OpenCL)`."""
        return f"{self.index}: {self.name} ({self.platform_name})"


@dataclass(frozen=True, slots=True)
class Discovery:
    """All devices in the loader's order, and notes for the user (what is missing, what is skipped)."""

    devices: tuple[DeviceInfo, ...]
    notes: tuple[str, ...]


def discover() -> Discovery:
    """Every device of every platform.

    Raises `DeviceError` when there is no platform, or none of the platforms has a device.
    """
    setup = make_drivers_visible()
    try:
        handles = device_handles()
    except DeviceError as error:
        # What is missing is often told by the way in which drivers were looked for.
        raise DeviceError("; ".join((str(error), *setup.notes, *_looked_in()))) from error
    devices = tuple(_describe(index, handle) for index, handle in enumerate(handles))
    skipped = tuple(
        f"{device.label} is skipped: {device.unusable_because}"
        for device in devices
        if not device.usable
    )
    return Discovery(devices, setup.notes + skipped)


def _looked_in() -> tuple[str, ...]:
    vendors = os.environ.get("OCL_ICD_VENDORS")
    return (f"OCL_ICD_VENDORS is {vendors}",) if vendors else ()


def device_handles() -> list[cl.Device]:
    """The driver's own handles, in the order of `DeviceInfo.index`. Raises `DeviceError` if none."""
    make_drivers_visible()
    import pyopencl as cl

    # A runtime that is installed hides from programs what they would not find without it.
    get_platforms = getattr(cl.get_platforms, "unpatched", cl.get_platforms)
    try:
        platforms = get_platforms()
    except cl.Error as error:
        if "PLATFORM_NOT_FOUND" in str(error):
            raise DeviceError(NO_PLATFORM) from error
        raise DeviceError(f"the OpenCL platforms cannot be listed: {error}") from error
    handles: list[cl.Device] = []
    for platform in platforms:
        try:
            handles += platform.get_devices()
        except cl.Error as error:
            if "DEVICE_NOT_FOUND" not in str(error):
                raise DeviceError(
                    f"the devices of {platform.name} cannot be listed: {error}"
                ) from error
    if not handles:
        raise DeviceError(NO_PLATFORM if not platforms else "no OpenCL platform has a device")
    return handles


def _describe(index: int, device: cl.Device) -> DeviceInfo:
    return DeviceInfo(
        index=index,
        platform_name=device.platform.name.strip(),
        platform_version=device.platform.version.strip(),
        name=device.name.strip(),
        kind=_kind(device),
        compute_units=device.max_compute_units,
        clock_mhz=device.max_clock_frequency,
        global_memory_bytes=device.global_mem_size,
        local_memory_bytes=device.local_mem_size,
        max_group_items=device.max_work_group_size,
        address_bits=device.address_bits,
        unified_memory=bool(device.host_unified_memory),
        driver_version=device.driver_version.strip(),
        opencl_c_version=device.opencl_c_version.strip(),
        extensions=tuple(device.extensions.split()),
        partitions=_partitions(device),
        non_uniform_groups=_has_non_uniform_groups(device),
        keeps_denormals=_keeps_denormals(device),
        unusable_because=_why_unusable(device),
    )


def _kind(device: cl.Device) -> DeviceKind:
    import pyopencl as cl

    for bit, kind in (
        (cl.device_type.GPU, DeviceKind.GPU),
        (cl.device_type.ACCELERATOR, DeviceKind.ACCELERATOR),
        (cl.device_type.CPU, DeviceKind.CPU),
    ):
        if device.type & bit:
            return kind
    return DeviceKind.OTHER


def _has_non_uniform_groups(device: cl.Device) -> bool:
    """Every 2.x device has them, a later one may (OpenCL 3.0 API specification, table 5)."""
    import pyopencl as cl

    version = re.match(r"OpenCL (\d+)\.", device.version)
    if not version or int(version[1]) < 2:
        return False
    if int(version[1]) == 2:
        return True
    try:
        return bool(device.get_info(cl.device_info.NON_UNIFORM_WORK_GROUP_SUPPORT))
    except cl.Error:
        return False


def _keeps_denormals(device: cl.Device) -> bool:
    """What it says of `float`; those of `double` are never lost (OpenCL 1.2, table 4.3)."""
    import pyopencl as cl

    return bool(device.single_fp_config & cl.device_fp_config.DENORM)


def _partitions(device: cl.Device) -> tuple[str, ...]:
    """How the device can be cut (OpenCL 1.2, section 4.3); a driver that cannot say cannot cut."""
    import pyopencl as cl

    try:
        if device.partition_max_sub_devices < 2 or device.max_compute_units < 2:
            return ()
        # pyopencl declares an int, but returns the list that OpenCL defines.
        offered = list(device.get_info(cl.device_info.PARTITION_PROPERTIES))  # type: ignore[call-overload]
    except cl.Error:
        return ()
    ways = (
        ("equally", cl.device_partition_property.EQUALLY),
        ("by counts", cl.device_partition_property.BY_COUNTS),
    )
    return tuple(way for way, value in ways if value in offered)


def _why_unusable(device: cl.Device) -> str:
    if not device.available:
        return "the driver says that it is not available"
    if not device.compiler_available:
        return "its driver has no OpenCL C compiler"
    return ""
