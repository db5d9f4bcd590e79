"""A few threads beside the program's own, which look at kernels, judge launches and build programs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

import pyopencl as cl

from lb_runtime.dropin.mirror import Machine, Mirror, NoMirror
from lb_runtime.errors import LoadBalancerError
from lb_runtime.settings import Settings
from predictor.errors import PredictorError

if TYPE_CHECKING:
    from lb_runtime.devices import DeviceInfo
    from lb_runtime.dropin.recall import Recall
    from lb_runtime.history.writer import History
    from lb_runtime.kernel import Kernel
    from lb_runtime.launch import Launch
    from lb_runtime.tuned.apply import Advice
    from predictor.prediction import Prediction

MOST_LOOKED_AT = 256
MOST_KERNELS_AHEAD = 4
"""Of a program so many kernels are looked at before they are launched."""


class Scout:
    """A few threads that work off what is asked of them; what is asked of one of them, in order."""

    def __init__(self, settings: Settings, history: History | None = None) -> None:
        self.machine = Machine(settings)
        self.history = history
        self._looked: dict[tuple[str, str, str], Kernel] = {}
        self._look_lock = Lock()
        self._asked: dict[str, SimpleQueue[Callable[[], None] | None]] = {}
        self._threads: list[Thread] = []
        self._lock = Lock()
        self._is_closed = False
        self._recalls: dict[object, Recall] = {}
        """What was read ahead of the history and nobody has asked for."""
        self._read_ahead: set[object] = set()
        self._model_lock = Lock()
        self._advice: Advice | None = None
        self._no_model = ""

    def ask(self, work: Callable[[], None], thread: str = "judge") -> None:
        """Have something done by the thread of this name; it must raise nothing."""
        with self._lock:
            if self._is_closed:
                return
            asked = self._asked.get(thread)
            if asked is None:
                asked = self._asked[thread] = SimpleQueue()
                name = f"lb_runtime {thread}"
                made = Thread(target=self._run, args=(asked,), name=name, daemon=True)
                self._threads.append(made)
                made.start()
            asked.put(work)

    def close(self, timeout_seconds: float) -> None:
        """Let go of what was not begun, and wait for what was."""
        with self._lock:
            self._is_closed = True
            for asked in self._asked.values():
                asked.put(None)
        for thread in self._threads:
            thread.join(timeout_seconds)

    def _run(self, asked: SimpleQueue[Callable[[], None] | None]) -> None:
        while (work := asked.get()) is not None:
            if not self._is_closed:
                work()
            del work

    def load_judging(self) -> None:
        """Have at hand what judging and splitting need, before the first kernel is there."""
        # In the order in which it is needed, and in steps: a program that ends waits for the one under way.
        from lb_runtime import contexts  # noqa: F401

        if self._is_closed:
            return
        from lb_runtime import kernel  # noqa: F401

        if self._is_closed:
            return
        from lb_runtime.analysis import judge  # noqa: F401

        if self._is_closed:
            return
        from lb_runtime.dropin import judging, recall, split  # noqa: F401

        if self.history is not None and self.history.is_there:
            with suppress(ImportError):
                from lb_runtime.history import store  # noqa: F401

    def look_at(self, source: str, options: str, name: str) -> Kernel:
        """A kernel, compiled for the analysis once. Raises as `lb_runtime.kernel.look_at`."""
        from lb_runtime.dropin import judging

        key = source, options, name
        with self._look_lock:
            found = self._looked.get(key)
            if found is None:
                if len(self._looked) >= MOST_LOOKED_AT:
                    self._looked.clear()
                found = self._looked[key] = judging.looked_at(source, options, name)
            return found

    def look_before(self, source: str, options: str | None, device: cl.Device) -> None:
        """Open the other device of a program's own, and look at the kernels of what it is building on that.

        Meanwhile it waits for the driver, and Python's lock is free. `options` are those that the driver was
        given, as far as is known.
        """
        # Whoever needs the device or a kernel is told what is wrong.
        with suppress(Exception):
            mirror = self.machine.mirror_of(device)
            if isinstance(mirror, Mirror) and options is not None:
                from lb_runtime.dropin.judging import names_in

                self._look_ahead(source, options, names_in(source, options), mirror)

    def look_ahead(self, program: Any, source: str, device: cl.Device) -> list[tuple[str, str]]:
        """Look at the kernels of a program that was built just now, which will be launched soon.

        Returns the build options and names of those of whose launches the history knows some.
        """
        with suppress(Exception):
            options = program.get_build_info(device, cl.program_build_info.OPTIONS) or ""
            names = [n for n in program.get_info(cl.program_info.KERNEL_NAMES).split(";") if n]
            mirror = self.machine.mirror_of(device)
            return [(options, name) for name in self._look_ahead(source, options, names, mirror)]
        return []

    def _look_ahead(
        self, source: str, options: str, names: list[str], mirror: Mirror | NoMirror
    ) -> list[str]:
        from lb_runtime.dropin.judging import build_ahead
        from lb_runtime.dropin.recall import Recall

        known = []
        for name in names[:MOST_KERNELS_AHEAD]:
            kernel = self.look_at(source, options, name)
            if not isinstance(mirror, Mirror):
                continue
            if self.history is not None:
                key = _recall_key(kernel, mirror)
                with self._lock:
                    is_read = key in self._read_ahead
                    self._read_ahead.add(key)
                if not is_read:
                    recall = Recall(self.history, kernel, mirror)
                    if recall.is_empty:
                        self.ask(self.load_model, "model")
                    with self._lock:
                        self._recalls[key] = recall
                with self._lock:
                    found = self._recalls.get(key)
                if found is not None and not found.is_empty:
                    known.append(name)
            build_ahead(kernel, mirror)
        return known

    def recall(self, kernel: Kernel, mirror: Mirror) -> Recall | None:
        """What the history knows of a kernel; None where there is no history."""
        from lb_runtime.dropin.recall import Recall

        if self.history is None:
            return None
        with self._lock:
            # What was read ahead serves once: a later context reads what is new.
            found = self._recalls.pop(_recall_key(kernel, mirror), None)
        return found or Recall(self.history, kernel, mirror)

    def load_model(self) -> None:
        """Have the model at hand, once."""
        with self._model_lock:
            if self._advice is None and not self._no_model:
                # A program whose launches are known does not wait for what a prediction needs.
                from lb_runtime.tuned.apply import Advice

                try:
                    self._advice = Advice(self.machine.look())
                except (LoadBalancerError, PredictorError) as error:
                    self._no_model = str(error)

    def predict(
        self, kernel: Kernel, launch: Launch, roles: tuple[DeviceInfo, DeviceInfo]
    ) -> Prediction:
        """What the model says of two devices, CPU and GPU; without one, what is true on the whole.

        What is sent and fetched does not count: results stay where they were computed.
        """
        self.load_model()
        if self._advice is not None:
            try:
                return self._advice.predict(kernel.graph, launch, transfers=False, roles=roles)
            except PredictorError as error:
                self._no_model = str(error)
        from predictor.predict import prior

        return prior()


def _recall_key(kernel: Kernel, mirror: Mirror) -> object:
    devices = mirror.user.index, mirror.device.info.index
    return devices, kernel.source, kernel.options, kernel.name
