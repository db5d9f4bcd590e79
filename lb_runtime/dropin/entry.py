"""One kernel of the program's, and what is known of its launches.

An `Entry` is one kernel of one program in one of the user's contexts; a `Question` one way of launching
it. Nothing here refers to a buffer of the program's.
"""

from __future__ import annotations

from collections.abc import Collection
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pyopencl as cl

from lb_runtime.dropin.arguments import Captured, Key, launch_key
from lb_runtime.errors import LoadBalancerError
from lb_runtime.records import dataclass
from lb_runtime.story import KernelStory
from predictor.errors import PredictorError

# Decisions and the history are imported by the threads that look at kernels, before the first launch is
# decided on.
if TYPE_CHECKING:
    from lb_runtime.dropin.decisions import Decision
    from lb_runtime.dropin.judging import Judge
    from lb_runtime.dropin.ready import Ready
    from lb_runtime.dropin.recall import Recall
    from lb_runtime.dropin.world import World
    from lb_runtime.kernel import Kernel

MOST_DECISIONS = 512
"""Of one kernel: what is launched in more ways than these is not judged any more."""
BACKLOG_SECONDS = 0.0003
"""A launch that has not ended for so long after its enqueue holds up those behind it."""
CHANGES_OF_A_COUNTER = 3
"""An integer that has changed so often will change again."""
MOST_UNDECIDED = 256
MOST_AHEAD = 4
"""So many kinds of launches are decided on before there is one."""
SHORT_PART = 0.25
"""A launch that takes less than this part of the shortest one to be split is short beyond doubt."""


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
        from lb_runtime.dropin.judging import build_ahead, without_consequence

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
            self.skipped = without_consequence(kernel)
            self.read_only = frozenset(
                index for index, each in enumerate(kernel.facts.parameters) if each.is_read_only
            )
            mirror = self.world.mirror
            if mirror is not None and not kernel.facts.reasons:
                self.recall = self.world.scout.recall(kernel, mirror)
            self.kernel = kernel
            if kernel.facts.reasons:
                first = kernel.facts.reasons[0]
                self._hopeless(first.code, first.detail)
            elif not self.world.settings.force and mirror is not None:
                self.world.scout.ask(lambda: build_ahead(kernel, mirror), "builder")

    def _hopeless(self, code: str, detail: str) -> None:
        self.story.declined(code, detail)
        self.code = code

    def ask_look(self, question: Question) -> None:
        """Have it looked at beside the program; launches that are known are decided on right then."""

        def work() -> None:
            self.look()
            if self.is_looked_at and self.recall is not None and not self.recall.is_empty:
                try:
                    self.decision(question)
                except Exception as error:
                    self.world.story.fault("decide", error)

        if not self._is_asked:
            self._is_asked = True
            self.world.scout.ask(work)

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
        from lb_runtime.dropin.decisions import Decision

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
                self._judge.decide(found)
            else:
                self.world.scout.ask(lambda: self._judge.decide(made))
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

    def decide_ahead(self) -> None:
        """Decide on launches that earlier processes have split, before there is one.

        OpenCL has accepted such launches: of the same kernel, on the same devices, with the same sizes.
        """
        self.look()
        if not self.is_looked_at or self.recall is None:
            return
        from lb_runtime.dropin.decisions import Decision

        for question, known, varying in self.recall.splits(self.skipped, MOST_AHEAD):
            if not varying <= self.varying:
                self.varying, self.skipped = self.varying | varying, self.skipped | varying
            made = Decision(self, question, known)
            if made.code == "first-launches":
                found = self.decisions.setdefault(question.key(self.skipped), made)
                if found is made:
                    self._judge.decide(made)
                self.shapes.add((question.global_size, question.local_size, question.offset))

    def make_cut(self, decision: Decision, user_share: float, groups: int) -> None:
        """Have another cut of a decision made beside the program, known by the user's work-groups."""

        def work() -> None:
            ready = None
            try:
                ready = self._judge.ready(decision.question, user_share)
            except Exception as error:
                self.world.story.fault("move", error)
            decision.moved(groups, None if isinstance(ready, tuple) else ready)

        self.world.scout.ask(work)

    def cut_now(self, decision: Decision, user_share: float) -> Ready | None:
        """Another cut of a decision, made by the calling thread; None where there is none."""
        ready = self._judge.ready(decision.question, user_share)
        return None if isinstance(ready, tuple) else ready

    @property
    def _judge(self) -> Judge:
        from lb_runtime.dropin.judging import Judge

        return Judge(self)
