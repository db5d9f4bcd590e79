"""Makes steps of the drop-in fail, in this process, and says what became of the programs.

    python tests/drop_in_faults.py STEP...

tells what goes wrong when steps of `STEPS` fail (all where none are named), or functions that are given as
MODULE:QUALIFIED.NAME. A hang ends the process with all threads' stacks on standard error.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import wraps
from typing import Any

import pyopencl as cl
from drop_in_programs import PROGRAMS, Bench, counted, declined, pocl, repeated, turned

from lb_runtime import intercept
from lb_runtime.dropin import runtime
from lb_runtime.dropin.hand import Errand
from lb_runtime.errors import BuildError
from lb_runtime.settings import Settings

HANG_SECONDS = 60
EVER = 0
WHENS = (1, 2, EVER)
TRANSIENT = (1, 2)
"""For steps without which the user's own device cannot do the work either: failing for ever, they lose bytes,
and a program that has enqueued its read before that was known may read old ones before it is told."""
MORE_WHENS = (1, 2, 3, 4, 5, 8, EVER)
"""At which call a step fails; `EVER`: at each."""
FEW_PROGRAMS = (repeated, turned, declined, counted)
"""Of these, one or the other shows what was done twice, was lost, or came home too late."""

Only = Callable[..., bool]


def broken() -> Exception:
    """An error of our own code."""
    return RuntimeError("injected: broken")


def out_of_memory() -> Exception:
    """An error of the driver's."""
    return cl.MemoryError("injected: out of memory")


def not_built() -> Exception:
    """What a compiler that refuses a program leads to."""
    return BuildError("injected: not built", "a device")


def always(*_: object, **__: object) -> bool:
    return True


def by_conductor(*_: object, **__: object) -> bool:
    """Whether one of the runtime's own threads calls."""
    return threading.current_thread().name == "lb_runtime conductor"


def marker(event: cl.Event) -> bool:
    """Whether a conductor waits for what stood before a launch on the program's queue."""
    return by_conductor() and event.command_type == cl.command_type.MARKER


def by_hand(*_: object, **__: object) -> bool:
    """Whether the thread calls that talks to the mirror."""
    return threading.current_thread().name == "lb_runtime hand"


def launching(*_: object, **__: object) -> bool:
    """Whether a kernel is being launched, and not given arguments."""
    return sys._getframe(2).f_code.co_name == "launch"


def never(*_: object, **__: object) -> Errand:
    """An errand that the mirror does not come back from."""
    return Errand(lambda _: None)


@dataclass(frozen=True)
class Step:
    """A function that is made to fail: before it does its work, or (`is_after`) when it has done it.

    `only` says for which arguments. With `answer` it does not fail but returns that. A failure at one call
    is survived, and one at each call where `ever`; else the program may see an error, and must not see wrong
    bytes. Where the only copy of some bytes may go down with the mirror (`may_lose`), the program is told so.
    """

    target: str
    fault: Callable[[], Exception] = broken
    is_after: bool = False
    only: Only = always
    answer: Callable[[], object] | None = None
    ever: bool = True
    may_lose: bool = False
    whens: tuple[int, ...] = WHENS

    def allows(self, trial: Trial) -> bool:
        """Whether what the program saw while faults were injected is as it should be."""
        if not trial.first:
            return True
        if self.may_lose and trial.first.startswith("BytesLostError"):
            return True
        return trial.when == EVER and not self.ever and not trial.is_wrong


@dataclass
class Trial:
    """What became of one program with one fault."""

    step: str
    when: int
    program: str
    hits: int = 0
    failed: int = 0
    first: str = ""
    """What was wrong with the bytes, or what was raised, while faults were injected; empty: nothing."""
    later: str = ""
    """The same, of the program's next run in the same context, without faults."""
    check: str = ""
    """What the invariant's check found after both runs."""
    split: int = 0
    told: int = 0
    """How many entries of the report name the fault."""
    faults: list[list[object]] = field(default_factory=list)

    @property
    def is_wrong(self) -> bool:
        """Whether bytes were wrong while faults were injected."""
        return self.first.startswith("AssertionError")


def resolve(target: str) -> tuple[Any, str]:
    """The module or class that holds `MODULE:QUALIFIED.NAME`, and the last part of the name."""
    module, _, name = target.partition(":")
    owner: Any = importlib.import_module(module)
    *path, last = name.split(".")
    for each in path:
        owner = getattr(owner, each)
    return owner, last


class Injector:
    """Puts failures into a function, while it is entered."""

    def __init__(self, step: Step, when: int) -> None:
        self.step = step
        self.when = when
        self.hits = 0
        self.failed = 0
        self._lock = threading.Lock()

    def _is_due(self) -> bool:
        with self._lock:
            self.hits += 1
            due = self.when == EVER or self.hits == self.when
            self.failed += due
        return due

    @contextmanager
    def installed(self) -> Iterator[None]:
        owner, name = resolve(self.step.target)
        given = owner.__dict__[name]
        function = given.fget if isinstance(given, property) else given
        is_bound = isinstance(function, (staticmethod, classmethod))
        function = function.__func__ if is_bound else function

        @wraps(function)
        def wrapped(*arguments: Any, **named: Any) -> Any:
            if not self.step.only(*arguments, **named):
                return function(*arguments, **named)
            due = self._is_due()
            if due and self.step.answer is not None:
                return self.step.answer()
            if due and not self.step.is_after:
                raise self.step.fault()
            result = function(*arguments, **named)
            if due:
                raise self.step.fault()
            return result

        replacement: Any = type(given)(wrapped) if is_bound else wrapped
        setattr(owner, name, property(wrapped) if isinstance(given, property) else replacement)
        try:
            yield
        finally:
            setattr(owner, name, given)


def patch(target: str) -> None:
    """A mutant: let a function do nothing, for good."""
    owner, name = resolve(target)
    setattr(owner, name, lambda *_, **__: None)


def settings() -> Settings:
    """Split from the first launch, PoCL with itself."""
    name = "Portable Computing Language"
    return Settings(force=True, share=0.5, cpu=name, gpu=name, mirror_timeout_seconds=0.5)


def attempt(step_name: str, step: Step, when: int, program: Callable[[Bench], None]) -> Trial:
    """Run one program twice in one context: with a fault, and without."""
    trial = Trial(step_name, when, program.__name__)
    faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
    injector = Injector(step, when)
    with intercept.install(settings()) as installed:
        bench = Bench.on(pocl())
        with injector.installed():
            trial.first = outcome(program, bench)
        trial.later = outcome(program, bench)
        bench.queue.finish()
        try:
            installed._check()
        except AssertionError as error:
            trial.check = str(error)
    faulthandler.cancel_dump_traceback_later()
    report = intercept.report()
    trial.hits, trial.failed = injector.hits, injector.failed
    trial.split = report.split
    trial.faults = [[each.step, each.cause, each.text, each.times] for each in report.faults]
    trial.told = sum(
        "injected" in each.text or "has not answered" in each.text for each in report.faults
    )
    trial.told += sum(
        "injected" in passed.detail for kernel in report.kernels for passed in kernel.passed
    )
    return trial


def outcome(program: Callable[[Bench], None], bench: Bench) -> str:
    """What a program comes to; empty where all is well."""
    try:
        program(bench)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


STEPS: dict[str, Step] = {
    # In the program's own thread
    "capture": Step("lb_runtime.dropin.kernels:captured"),
    "take-over": Step("lb_runtime.dropin.kernels:KernelState.take_over"),
    "kernel-state": Step("lb_runtime.dropin.runtime:DropIn.kernel_state", only=launching),
    "entry": Step("lb_runtime.dropin.runtime:DropIn._entry"),
    "queue": Step("lb_runtime.dropin.runtime:DropIn.queue_state"),
    "choose": Step("lb_runtime.dropin.runtime:DropIn._choose"),
    "launch": Step("lb_runtime.dropin.runtime:DropIn._enqueue"),
    "memory": Step("lb_runtime.dropin.world:World.memory"),
    "task": Step("lb_runtime.dropin.steps:Steps.__init__"),
    "promise": Step("lb_runtime.dropin.steps:Steps.promise"),
    "promise, done": Step("lb_runtime.dropin.steps:Steps.promise", is_after=True),
    "note-memory": Step("lb_runtime.dropin.world:World.note", ever=False),
    "enqueue": Step("lb_runtime.dropin.world:World.enqueue", ever=False),
    "allocate": Step("lb_runtime.dropin.conductor:Conductor.allocate", out_of_memory, ever=False),
    "put": Step("lb_runtime.dropin.conductor:Conductor.put", ever=False),
    "before": Step("lb_runtime.dropin.world:World.before", ever=False),
    "touched": Step("lb_runtime.dropin.runtime:DropIn._touched", ever=False),
    "pull": Step("lb_runtime.dropin.world:World.pull", ever=False),
    # Looking and building
    "mirror": Step("lb_runtime.dropin.mirror:Machine.mirror_of"),
    "look": Step("lb_runtime.dropin.judging:look_at"),
    "judge": Step("lb_runtime.dropin.judging:judged"),
    "make": Step("lb_runtime.dropin.judging:make_ready"),
    "mirror-build": Step("lb_runtime.contexts:OpenDevice.program", not_built),
    # In the conductor: waiting and moving
    "wait": Step("pyopencl._cl:Event.wait", only=marker, ever=False),
    "decide": Step("lb_runtime.dropin.entry:Entry.decide_now"),
    "to-user": Step("lb_runtime.dropin.conductor:Conductor.bring_home", ever=False),
    "to-user, done": Step(
        "lb_runtime.dropin.conductor:Conductor.bring_home",
        is_after=True,
        ever=False,
        whens=TRANSIENT,
    ),
    "read": Step("lb_runtime.dropin.conductor:Conductor.read_rows_away", out_of_memory, ever=False),
    "to-mirror": Step("lb_runtime.dropin.conductor:Conductor.to_send"),
    "mirror-memory": Step("lb_runtime.dropin.mirror:Mirror.allocate", out_of_memory),
    "originals": Step("lb_runtime.dropin.merging:MergingSteps._keep_originals"),
    # Parts
    "arguments": Step("lb_runtime.dropin.steps:Steps._set_arguments", ever=False),
    "send-out": Step("lb_runtime.dropin.split:LaunchTask._send_out"),
    "send-out, done": Step("lb_runtime.dropin.split:LaunchTask._send_out", is_after=True),
    "kernel": Step("lb_runtime.dropin.split:LaunchTask._run_at_home", ever=False),
    "kernel, done": Step(
        "lb_runtime.dropin.split:LaunchTask._run_at_home", is_after=True, ever=False
    ),
    "home-kernel": Step(
        "lb_runtime.dropin.split:launch", only=by_conductor, ever=False, whens=TRANSIENT
    ),
    "mirror-kernel": Step("lb_runtime.dropin.split:launch", only=by_hand, may_lose=True),
    "mirror-kernel, done": Step(
        "lb_runtime.dropin.split:launch", only=by_hand, is_after=True, may_lose=True
    ),
    "mirror-wait": Step("lb_runtime.dropin.conductor:Conductor.wait", may_lose=True),
    "mirror-wait, done": Step(
        "lb_runtime.dropin.conductor:Conductor.wait", is_after=True, may_lose=True
    ),
    "mirror-part": Step("lb_runtime.dropin.steps:Steps._await_mirror", ever=False),
    "mirror-part, done": Step(
        "lb_runtime.dropin.steps:Steps._await_mirror", is_after=True, ever=False
    ),
    "mirror-silent": Step(
        "lb_runtime.dropin.conductor:Conductor.away", answer=never, may_lose=True
    ),
    "time": Step("lb_runtime.dropin.split:times", may_lose=True),
    "time at home": Step("lb_runtime.dropin.steps:times"),
    "note": Step("lb_runtime.dropin.steps:Steps._note_places", ever=False),
    "note, done": Step(
        "lb_runtime.dropin.steps:Steps._note_places",
        is_after=True,
        ever=False,
        whens=TRANSIENT,
    ),
    # The end of a launch
    "merge": Step(
        "lb_runtime.dropin.merging:MergingSteps._put_together", ever=False, whens=TRANSIENT
    ),
    "merge, done": Step(
        "lb_runtime.dropin.merging:MergingSteps._put_together",
        is_after=True,
        ever=False,
        whens=TRANSIENT,
    ),
    "write": Step("lb_runtime.dropin.copies:write", ever=False),
    "tell": Step("lb_runtime.dropin.decisions:Decision.ran"),
    "story": Step("lb_runtime.story:KernelStory.split"),
    # Nothing else ends the wait of the program's queue: for ever, that fails for good.
    "signal": Step("pyopencl._cl:UserEvent.set_status", only=by_conductor, whens=(1, 2, 4)),
}
"""Each step of a launch, in order."""


def main(names: Sequence[str]) -> None:
    """Print the trials of some steps, with a few programs: one a line, as JSON."""
    runtime.DRAIN_SECONDS = 10.0
    for name in names:
        for when in STEPS[name].whens:
            for program in FEW_PROGRAMS:
                trial = attempt(name, STEPS[name], when, program)
                sys.stdout.write(json.dumps(asdict(trial)) + "\n")
                sys.stdout.flush()


def show(names: Sequence[str]) -> None:
    """For a reader: what goes wrong with all programs, when steps or any functions fail."""
    runtime.DRAIN_SECONDS = 10.0
    for name in names:
        step = STEPS.get(name) or Step(name, ever=False)
        failed = 0
        for when in MORE_WHENS if EVER in step.whens else MORE_WHENS[:-1]:
            for program in PROGRAMS:
                trial = attempt(name, step, when, program)
                failed += trial.failed
                for line in wrong([trial], step):
                    sys.stdout.write(f"{line}\n    {trial.faults}\n")
                sys.stdout.flush()
        sys.stdout.write(f"{name}: {failed} failures\n")
        sys.stdout.flush()


def wrong(found: Sequence[Trial], step: Step) -> list[str]:
    """What the trials of a step did that they must not do."""
    lines = []
    for trial in found:
        name = f"{trial.step}, call {trial.when or 'each'}, {trial.program}"
        if not step.allows(trial):
            lines.append(f"{name}: {trial.first}")
        if trial.later:
            lines.append(f"{name}, afterwards: {trial.later}")
        # Of bytes that are lost for good, the maps need not tell where they are.
        if trial.check and (trial.when != EVER or step.ever):
            lines.append(f"{name}, check: {trial.check}")
        if trial.failed and not trial.told:
            lines.append(f"{name}: the report does not tell the cause")
        if len({tuple(each[:3]) for each in trial.faults}) != len(trial.faults):
            lines.append(f"{name}: a cause is told more than once in {trial.faults}")
    return lines


if __name__ == "__main__":
    show(sys.argv[1:] or list(STEPS))
