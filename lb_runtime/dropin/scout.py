"""Looking at kernels, judging launches and building programs, beside the program's own threads.

An `Entry` is one kernel of one program in one of the user's contexts; a `Question` one way of launching
it. Nothing here refers to a buffer of the program's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from math import prod
from queue import SimpleQueue
from threading import Lock, Thread
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pyopencl as cl

from lb_runtime.analysis import layout
from lb_runtime.analysis.judge import written_arguments
from lb_runtime.analysis.reach import overreach
from lb_runtime.analysis.uneven import has_data_dependent_loops
from lb_runtime.analysis.verdict import Declined
from lb_runtime.contexts import build_program
from lb_runtime.devices import DeviceInfo
from lb_runtime.dropin.arguments import BufferRef, Captured, Key, launch_arguments, launch_key
from lb_runtime.dropin.believed import HOME, belief_of, policy_as_known
from lb_runtime.dropin.decisions import Decision
from lb_runtime.dropin.mirror import CPU, Machine, Mirror
from lb_runtime.dropin.ready import Home, Ready, make_ready
from lb_runtime.dropin.recall import Recall
from lb_runtime.errors import BuildError, LaunchError, LoadBalancerError
from lb_runtime.judged import judged
from lb_runtime.kernel import Kernel, launch_range, look_at
from lb_runtime.launch import Launch
from lb_runtime.memory.byte_map import Place
from lb_runtime.plan import Plan, split_plan, whole_plan
from lb_runtime.prelude import CHANGED_BY_A_SPLIT
from lb_runtime.settings import Settings
from lb_runtime.shares.adaptive import Adaptive
from lb_runtime.shares.policy import Dynamic, Predicted
from lb_runtime.story import KernelStory
from predictor.errors import PredictorError
from predictor.frontend import split_options

if TYPE_CHECKING:
    from lb_runtime.dropin.world import World
    from lb_runtime.history.writer import History
    from lb_runtime.shares.belief import Belief
    from lb_runtime.shares.policy import Policy
    from lb_runtime.tuned.apply import Advice
    from predictor.prediction import Prediction

MOST_DECISIONS = 512
"""Of one kernel: what is launched in more ways than these is not judged any more."""
TOLD_BY_LOCAL_SIZE = frozenset(
    {
        "get_enqueued_local_size",
        "get_group_id",
        "get_local_id",
        "get_local_linear_id",
        "get_local_size",
        "get_num_groups",
    }
)
"""Built-ins whose answers follow from a local size that the driver chooses where none is given."""
BACKLOG_SECONDS = 0.0003
"""A launch that has not ended for so long after its enqueue holds up those behind it."""
MOST_LOOKED_AT = 256
MOST_KERNELS_AHEAD = 4
"""Of a program so many kernels are looked at before they are launched."""
CHANGES_OF_A_COUNTER = 3
"""An integer that has changed so often will change again."""
MOST_UNDECIDED = 256
SHORT_PART = 0.25
"""A launch that takes less than this part of the shortest one to be split is short beyond doubt."""
PART_OF_SPARE = 0.25
"""Copies for one launch may take so much of the memory that is free."""
FIRST_SHARE = 0.1
"""The least that a device gets in the first split, whatever the model says."""


@dataclass(frozen=True, slots=True)
class Question:
    """One way to launch a kernel: sizes in work-items as pyopencl was given them, and the arguments."""

    global_size: tuple[int, ...]
    local_size: tuple[int, ...] | None
    offset: tuple[int, ...] | None
    given: tuple[Captured, ...]

    def key(self, skipped: Collection[int]) -> Key:
        """What launches that are run alike have in common; `skipped` are arguments of no consequence."""
        return (
            self.global_size,
            self.local_size,
            self.offset,
            launch_key(self.given, skipped),
        )

    @property
    def size(self) -> tuple[int, ...]:
        """What launches are compared by in reports."""
        return self.global_size


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

    def look_at(self, source: str, options: str, name: str) -> Kernel:
        """A kernel, compiled for the analysis once. Raises as `lb_runtime.kernel.look_at`."""
        key = source, options, name
        with self._look_lock:
            found = self._looked.get(key)
            if found is None:
                if len(self._looked) >= MOST_LOOKED_AT:
                    self._looked.clear()
                found = self._looked[key] = look_at(source, split_options(options), name)
            return found

    def look_ahead(self, program: Any, source: str, device: cl.Device) -> None:
        """Look at the kernels of a program that was built just now, which will be launched soon."""
        with suppress(Exception):
            options = program.get_build_info(device, cl.program_build_info.OPTIONS) or ""
            names = [n for n in program.get_info(cl.program_info.KERNEL_NAMES).split(";") if n]
            mirror = self.machine.mirror_of(device)
            for name in names[:MOST_KERNELS_AHEAD]:
                kernel = self.look_at(source, options, name)
                if isinstance(mirror, Mirror):
                    if self.history is not None and Recall(self.history, kernel, mirror).is_empty:
                        self.ask(self.load_model, "model")
                    build_ahead(kernel, mirror)

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


def build_ahead(kernel: Kernel, mirror: Mirror) -> None:
    """Build a kernel for the mirror before its launch is judged: most need no other text than their own."""
    if not kernel.facts.reasons and not kernel.facts.builtins & CHANGED_BY_A_SPLIT:
        # Whoever needs the program is told what is wrong with it.
        with suppress(Exception):
            mirror.device.program(kernel.source, kernel.options)


class Entry:
    """One kernel of one program, on one device of the user's: what is known of it and its launches.

    `code` is why no launch of it is split, empty while that is not known.
    """

    def __init__(
        self,
        world: World,
        device: cl.Device,
        program: Any,
        source: str,
        options: str,
        name: str,
        story: KernelStory,
    ) -> None:
        self.world = world
        self.device = device
        self.program = program
        self.source = source
        self.options = options
        self.name = name
        self.story = story
        self.code = "" if source else "no-source"
        self.kernel: Kernel | None = None
        self.skipped: frozenset[int] = frozenset()
        """The arguments by value on which no address depends, by index."""
        self.read_only: frozenset[int] = frozenset()
        """The buffer arguments that the kernel cannot write, by index."""
        self.decisions: dict[Key, Decision] = {}
        self.recall: Recall | None = None
        """What earlier processes found out about the kernel; None where there is no history."""
        self._lock = Lock()
        self._is_asked = False
        self.varying: frozenset[int] = frozenset()
        """The integer arguments that change from launch to launch, by index."""
        self._last_given: dict[object, tuple[Captured, ...]] = {}
        self._changes: dict[int, int] = {}
        self.is_short = False
        """Whether a launch was seen to take so little time that deciding late costs more than it can gain."""
        self.undecided = 0
        """How many launches are on their way of which it will be decided when their turn comes."""
        self.shapes: set[object] = set()
        """Sizes that pyopencl has accepted a launch with."""
        self._oldest: tuple[Any, float] | None = None

    def look(self) -> None:
        """Compile for the analysis, once; `code` tells if that is not to be had."""
        with self._lock:
            if self.kernel is not None or self.code:
                return
            try:
                kernel = self.world.scout.look_at(self.source, self.options, self.name)
            except (LoadBalancerError, PredictorError) as error:
                self._hopeless("no-source", str(error))
                return
            except Exception as error:
                self.world.story.fault("look", error)
                self._hopeless("fault", f"look: {error}")
                return
            parameters = kernel.facts.parameters
            self.skipped = frozenset(
                index
                for index, each in enumerate(parameters)
                if each.kind == "scalar" and not layout.integer_bits(each.llvm_type)
            )
            self.read_only = frozenset(
                index for index, each in enumerate(parameters) if each.is_read_only
            )
            history, mirror = self.world.scout.history, self.world.mirror
            if history is not None and mirror is not None and not kernel.facts.reasons:
                self.recall = Recall(history, kernel, mirror)
            self.kernel = kernel
            if kernel.facts.reasons:
                first = kernel.facts.reasons[0]
                self._hopeless(first.code, first.detail)
            elif not self.world.settings.force and mirror is not None:
                self.world.scout.ask(lambda: build_ahead(kernel, mirror), "builder")

    def _hopeless(self, code: str, detail: str) -> None:
        self.story.declined(code, detail)
        self.code = code

    def ask_look(self) -> None:
        """Have it looked at beside the program."""
        if not self._is_asked:
            self._is_asked = True
            self.world.scout.ask(self.look)

    @property
    def is_looked_at(self) -> bool:
        """Whether launches can be decided on."""
        return self.kernel is not None and self.world.mirror is not None and not self.code

    def decision(self, question: Question) -> Decision | None:
        """What becomes of such launches; asked for on first sight. None for one way too many."""
        key = question.key(self.skipped)
        found = self.decisions.get(key)
        if found is not None:
            return found
        if self._learn(question):
            return self.decision(question)
        if len(self.decisions) >= MOST_DECISIONS:
            return None
        known = None
        if self.recall is not None:
            recalled = self.recall.find(question, self.skipped, self.varying)
            if recalled is not None:
                known, self.varying = recalled
                self.skipped = self.skipped | self.varying
                key = question.key(self.skipped)
        made = Decision(self, question, known)
        found = self.decisions.setdefault(key, made)
        if found is made and made.code == "first-launches":
            if self.world.settings.force:
                self._decide(found)
            else:
                self.world.scout.ask(lambda: self._decide(made))
        return found

    def _learn(self, question: Question) -> bool:
        """Look for integers that change from launch to launch (a step, a seed); whether there is a new one.

        From then on launches are judged for any value of such a number, and one decision serves all.
        """
        shape = question.global_size, question.local_size, question.offset
        before = self._last_given.get(shape)
        self._last_given[shape] = question.given
        if before is None:
            return False
        found = False
        for index, (one, other) in enumerate(zip(before, question.given)):
            if type(other) is bytes and one != other and index not in self.skipped:
                self._changes[index] = self._changes.get(index, 0) + 1
                if self._changes[index] >= CHANGES_OF_A_COUNTER:
                    self.varying = self.varying | {index}
                    self.skipped = self.skipped | {index}
                    found = True
        return found

    def decide_now(self, question: Question) -> Decision | None:
        """The decision on a launch whose turn has come; None where none can be had yet."""
        if self.world.is_lost or not self.is_looked_at:
            return None
        return self.decision(question)

    def passed(self, event: Any) -> None:
        """A launch passed while nothing is decided: how long it takes tells whether launches queue up."""
        oldest = self._oldest
        if oldest is None or oldest[0].command_execution_status <= 0:
            self._oldest = event, perf_counter()

    @property
    def queues_up(self) -> bool:
        """Whether launches that passed wait for the device: then more of them had better be decided late."""
        oldest = self._oldest
        if oldest is None or self.is_short or self.undecided >= MOST_UNDECIDED:
            return False
        age = perf_counter() - oldest[1]
        if oldest[0].command_execution_status > 0:
            return age > BACKLOG_SECONDS
        if age < SHORT_PART * self.world.settings.min_seconds:
            self.is_short = True
        return False

    def took(self, seconds: float) -> None:
        """A whole launch ran on the user's device in so much time, before anything was decided."""
        if seconds < SHORT_PART * self.world.settings.min_seconds:
            self.is_short = True

    def make_cut(self, decision: Decision, user_share: float, groups: int) -> None:
        """Have another cut of a decision made beside the program, known by the user's work-groups."""

        def work() -> None:
            ready = None
            try:
                ready = self._ready(decision.question, user_share)
            except Exception as error:
                self.world.story.fault("move", error)
            decision.moved(groups, ready if isinstance(ready, Ready) else None)

        self.world.scout.ask(work)

    def cut_now(self, decision: Decision, user_share: float) -> Ready | None:
        """Another cut of a decision, made by the calling thread; None where there is none."""
        ready = self._ready(decision.question, user_share)
        return ready if isinstance(ready, Ready) else None

    def _decide(self, decision: Decision) -> None:
        settings = self.world.settings
        try:
            belief, known = None, decision.known
            share = settings.share if known is None else known.cpu_share
            if share is None:
                belief = self._belief(decision.question)
                user_share = 0.5 if belief is None else belief.best()[HOME]
            else:
                user_share = self._mine(share)
            if not self._is_fixed and known is None:
                # Both devices are to be seen at work before one of them gets nothing.
                user_share = min(max(user_share, FIRST_SHARE), 1 - FIRST_SHARE)
            ready = self._ready(decision.question, user_share)
            if not isinstance(ready, Ready):
                decision.passes(*ready)
                return
            policy: Policy | None = None
            if known is not None:
                policy = policy_as_known(known, ready.user_share, ready.groups)
            elif belief is not None and not self._is_fixed:
                policy = self._policy(belief, ready)
            decision.begin(ready, policy)
            decision.code = "observing" if settings.mode == "observe" else ""
        except BuildError as error:
            decision.passes("build-failed", str(error))
        except (LoadBalancerError, PredictorError) as error:
            decision.passes("invalid-launch", str(error))
        except Exception as error:
            self.world.story.fault("decide", error)
            decision.passes("fault", f"decide: {error}")

    def _mine(self, cpu_share: float) -> float:
        """The user's device's share, where the CPU has `cpu_share`."""
        return cpu_share if self._mirror.user_role == CPU else 1 - cpu_share

    @property
    def _mirror(self) -> Mirror:
        mirror = self.world.mirror
        if mirror is None:
            raise LaunchError("there is no other device")
        return mirror

    def _policy(self, belief: Belief, ready: Ready) -> Policy:
        """How shares go on from what the model says."""
        name = self.world.settings.policy
        if name == "predicted":
            return Predicted(belief)
        if name == "dynamic" and ready.may_chunk:
            return Dynamic(belief)
        # Chunks move all bytes of every launch. Where nothing says that work-items differ in their work,
        # times that do so tell of other programs.
        is_uneven = self.kernel is not None and has_data_dependent_loops(self.kernel.facts)
        return Adaptive(
            belief,
            groups=ready.groups,
            may_chunk=ready.may_chunk and is_uneven,
            has_data_dependent_loops=is_uneven,
        )

    @property
    def _is_fixed(self) -> bool:
        """Whether launches are cut at one share, whatever that gains."""
        return self.world.settings.force or self.world.settings.share is not None

    def _belief(self, question: Question) -> Belief | None:
        """What the model says of a launch's times; None where its arguments do not fit the kernel."""
        kernel = self.kernel
        launch = None if kernel is None else self._launch(kernel, question)
        if kernel is None or launch is None:
            return None
        roles = self._by_role(self._mirror.user, self._mirror.device.info)
        said = self.world.scout.predict(kernel, launch, roles)
        return belief_of(said, self._mirror.user_role)

    def _ready(self, question: Question, user_share: float) -> Ready | tuple[str, str]:
        """A launch planned and built, cut at a share; or a reason's code and detail.

        Where the user's device is to have nothing, all of it is for the mirror.
        """
        kernel = self.kernel
        if kernel is None:
            raise LaunchError("the kernel was not looked at")
        launch = self._launch(kernel, question)
        if launch is None:
            return "arguments-unknown", "the arguments are not those that the kernel takes"
        if outside := overreach(kernel.facts, launch):
            return "invalid-launch", str(outside)
        chosen = kernel.facts.builtins & TOLD_BY_LOCAL_SIZE
        required = kernel.facts.required_local_size
        if question.local_size is None and (chosen or required is not None):
            # With a required size, drivers differ in whether none may be given.
            asks = ", ".join(sorted(chosen)) or f"a local size of {required}"
            return "local-size", f"the kernel asks for {asks}"
        roles = self._by_role(self._mirror.user, self._mirror.device.info)
        is_mirrors = user_share == 0.0 and not self._is_fixed
        if is_mirrors:
            # What may be split, and only that, may run on the other device as well.
            user_share = 0.5
        cpu_share = user_share if self._mirror.user_role == CPU else 1 - user_share
        verdict, adapted = judged(
            kernel,
            launch,
            cpu_share,
            roles,
            exact=self.world.settings.exact,
            strict=self.world.settings.strict,
        )
        if isinstance(verdict, Declined) or adapted is None:
            reason = verdict.reasons[0] if isinstance(verdict, Declined) else None
            return (reason.code, reason.detail) if reason else ("built-ins", "")
        if len(verdict.slices) < 2:
            return "one-group", "the cut at this share leaves one device without work"
        if is_mirrors:
            plan = self._on_mirror(kernel, launch)
        else:
            plan = split_plan(launch, verdict, adapted.source, adapted.options)
        places = self._by_role(Place.USER, Place.MIRROR)
        items = {part.device: prod(part.global_size) for part in plan.parts}
        programs = self._programs(kernel, plan.source, plan.options)
        if limit := self._too_large_groups(programs, launch):
            return "device-limit", limit
        ready = make_ready(plan, places, programs, items.get(CPU, 0) / sum(items.values()))
        if is_mirrors:
            groups = launch.nd_range.groups[verdict.dimension]
            ready = replace(ready, dimension=verdict.dimension, groups=groups)
        if limit := self._too_large(ready, question):
            return "too-large", limit
        return ready

    def _too_large(self, ready: Ready, question: Question) -> str:
        """Why there is not enough memory for a split; empty where there is."""
        roots = {each.root: each.root_bytes for each in question.given if type(each) is BufferRef}
        # What comes together at home is there as the original and as both parts' copies.
        together = sum(
            3 * (each.hull[1] - each.hull[0])
            for each in ready.written
            if each.home is not Home.STAY
        )
        wanted, spare = sum(roots.values()) + together, self._mirror.spare_bytes
        if wanted <= PART_OF_SPARE * spare:
            return ""
        return f"{wanted} bytes of copies would be needed, and {spare:.0f} bytes are free"

    def _launch(self, kernel: Kernel, question: Question) -> Launch | None:
        arguments = launch_arguments(kernel.facts.parameters, question.given, self.varying)
        if arguments is None:
            return None
        nd_range = launch_range(kernel, question.global_size, question.local_size, question.offset)
        return Launch(kernel.name, nd_range, arguments)

    def _on_mirror(self, kernel: Kernel, launch: Launch) -> Plan:
        """The whole launch on the other device, from the user's own text."""
        written = written_arguments(kernel.facts, launch)
        device = self._by_role(Place.USER, Place.MIRROR).index(Place.MIRROR)
        return whole_plan(launch, device, written, kernel.source, kernel.options)

    def _by_role(self, user: Any, mirror: Any) -> tuple[Any, Any]:
        """What belongs to both devices, in the order CPU, GPU."""
        return (user, mirror) if self._mirror.user_role == CPU else (mirror, user)

    def _programs(
        self, kernel: Kernel, source: str, options: tuple[str, ...]
    ) -> Mapping[Place, Any]:
        """The text built for both devices; on the user's the program's own where nothing was changed."""
        mirror = self._mirror.device.program(source, options)
        if (source, options) == (kernel.source, kernel.options):
            return {Place.USER: self.program, Place.MIRROR: mirror}
        world = self.world
        key = self.device.int_ptr, source, options
        known = world.programs.get(key)
        if known is None:
            known = build_program(
                world.context, self.device, self._mirror.user.label, source, options
            )
            world.programs[key] = known
        return {Place.USER: known, Place.MIRROR: mirror}

    def _too_large_groups(self, programs: Mapping[Place, Any], launch: Launch) -> str:
        """Why a device cannot run the kernel with such work-groups; empty where both can."""
        devices = {Place.USER: self.device, Place.MIRROR: self._mirror.device.handle}
        for place, program in programs.items():
            kernel = cl.Kernel(program, launch.kernel_name)
            most = kernel.get_work_group_info(
                cl.kernel_work_group_info.WORK_GROUP_SIZE, devices[place]
            )
            if launch.nd_range.group_items > most:
                return (
                    f"local size {launch.nd_range.local_size} has {launch.nd_range.group_items} items, "
                    f"but {self.world.row(place)} runs at most {most} of this kernel"
                )
        return ""
