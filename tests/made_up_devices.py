"""A measurer without devices: times follow from a workload's key, and some workloads cannot be measured."""

from __future__ import annotations

from lb_runtime.tuned.measured import Measured, Seconds, SplitMeasured
from lb_runtime.tuning.measure import UnfitError
from lb_runtime.tuning.workload import Workload
from predictor.tuned.features import LaunchNumbers


class MadeUpDevices:
    """Measures at once. `stops_at`: the number of the measurement at which Ctrl-C comes.

    Launches take `slowness` times 20 to 30 ms.
    """

    def __init__(self, stops_at: int = -1, slowness: float = 1.0) -> None:
        self.measured: list[str] = []
        self.split: list[str] = []
        self.stops_at = stops_at
        self.slowness = slowness

    def measure(self, workload: Workload) -> Measured:
        if len(self.measured) + len(self.split) == self.stops_at:
            raise KeyboardInterrupt
        self.measured.append(workload.name)
        if workload.name.startswith("stencil"):
            raise UnfitError("this machine has no stencils")
        number = int(workload.key[:4], 16) / 65536
        cpu, gpu = 1e-2 * self.slowness * (1 + number), 1e-2 * self.slowness * (2 - number)
        return Measured(
            LaunchNumbers(1 << 16, 64, 4096, 1, ()),
            Seconds(cpu, cpu + 1e-3 * self.slowness),
            Seconds(gpu, gpu + 1e-3 * self.slowness),
        )

    def measure_split(self, workload: Workload, cpu_share: float) -> SplitMeasured:
        if len(self.measured) + len(self.split) == self.stops_at:
            raise KeyboardInterrupt
        self.split.append(workload.name)
        return SplitMeasured(cpu_share, 1e-3)
