"""Judging launches, planning them and building their programs: what threads beside the program's do.

They import this module, and the program's own thread does not: loading the analysis takes longer than
loading all else that the drop-in needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

import pyopencl as cl

from lb_runtime.analysis import layout
from lb_runtime.analysis.judge import written_arguments
from lb_runtime.analysis.reach import overreach
from lb_runtime.analysis.uneven import has_data_dependent_loops
from lb_runtime.analysis.verdict import Declined
from lb_runtime.contexts import build_program
from lb_runtime.dropin.arguments import BufferRef
from lb_runtime.dropin.believed import belief_of, policy_as_known
from lb_runtime.dropin.fitting import launch_arguments
from lb_runtime.dropin.handout import HOME
from lb_runtime.dropin.mirror import CPU, Mirror
from lb_runtime.dropin.planned import make_ready
from lb_runtime.dropin.ready import Home, Ready
from lb_runtime.errors import BuildError, LaunchError, LoadBalancerError
from lb_runtime.judged import judged
from lb_runtime.kernel import Kernel, launch_range, look_at
from lb_runtime.kernel import names_in as kernel_names
from lb_runtime.launch import Launch
from lb_runtime.memory.byte_map import Place
from lb_runtime.plan import Plan, split_plan, whole_plan
from lb_runtime.prelude import CHANGED_BY_A_SPLIT
from lb_runtime.shares.adaptive import Adaptive
from lb_runtime.shares.policy import Dynamic, Predicted
from predictor.errors import PredictorError
from predictor.frontend import split_options

if TYPE_CHECKING:
    from lb_runtime.dropin.decisions import Decision
    from lb_runtime.dropin.entry import Entry, Question
    from lb_runtime.shares.belief import Belief
    from lb_runtime.shares.policy import Policy

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
PART_OF_SPARE = 0.25
"""Copies for one launch may take so much of the memory that is free."""
FIRST_SHARE = 0.1
"""The least that a device gets in the first split, whatever the model says."""


def looked_at(source: str, options: str, name: str) -> Kernel:
    """A kernel, compiled for the analysis. Raises as `lb_runtime.kernel.look_at`."""
    return look_at(source, split_options(options), name)


def names_in(source: str, options: str) -> list[str]:
    """The names of a source's kernels. Raises as `looked_at`."""
    return kernel_names(source, split_options(options))


def build_ahead(kernel: Kernel, mirror: Mirror) -> None:
    """Build a kernel for the mirror before its launch is judged: most need no other text than their own."""
    if not kernel.facts.reasons and not kernel.facts.builtins & CHANGED_BY_A_SPLIT:
        # Whoever needs the program is told what is wrong with it.
        with suppress(Exception):
            mirror.device.program(kernel.source, kernel.options)


def without_consequence(kernel: Kernel) -> frozenset[int]:
    """The arguments by value on which no address depends, by index."""
    return frozenset(
        index
        for index, each in enumerate(kernel.facts.parameters)
        if each.kind == "scalar" and not layout.integer_bits(each.llvm_type)
    )


class Judge:
    """What becomes of an entry's launches."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry

    def decide(self, decision: Decision) -> None:
        """Find out what becomes of such launches, and tell the decision. Raises nothing."""
        settings = self._entry.world.settings
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
            ready = self.ready(decision.question, user_share)
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
            self._entry.world.story.fault("decide", error)
            decision.passes("fault", f"decide: {error}")

    def _mine(self, cpu_share: float) -> float:
        """The user's device's share, where the CPU has `cpu_share`."""
        return cpu_share if self._mirror.user_role == CPU else 1 - cpu_share

    @property
    def _mirror(self) -> Mirror:
        mirror = self._entry.world.mirror
        if mirror is None:
            raise LaunchError("there is no other device")
        return mirror

    def _policy(self, belief: Belief, ready: Ready) -> Policy:
        """How shares go on from what the model says."""
        name = self._entry.world.settings.policy
        if name == "predicted":
            return Predicted(belief)
        if name == "dynamic" and ready.may_chunk:
            return Dynamic(belief)
        # Chunks move all bytes of every launch. Where nothing says that work-items differ in their work,
        # times that do so tell of other programs.
        is_uneven = self._entry.kernel is not None and has_data_dependent_loops(
            self._entry.kernel.facts
        )
        return Adaptive(
            belief,
            groups=ready.groups,
            may_chunk=ready.may_chunk and is_uneven,
            has_data_dependent_loops=is_uneven,
        )

    @property
    def _is_fixed(self) -> bool:
        """Whether launches are cut at one share, whatever that gains."""
        return self._entry.world.settings.force or self._entry.world.settings.share is not None

    def _belief(self, question: Question) -> Belief | None:
        """What the model says of a launch's times; None where its arguments do not fit the kernel."""
        kernel = self._entry.kernel
        launch = None if kernel is None else self._launch(kernel, question)
        if kernel is None or launch is None:
            return None
        roles = self._by_role(self._mirror.user, self._mirror.device.info)
        said = self._entry.world.scout.predict(kernel, launch, roles)
        return belief_of(said, self._mirror.user_role)

    def ready(self, question: Question, user_share: float) -> Ready | tuple[str, str]:
        """A launch planned and built, cut at a share; or a reason's code and detail.

        Where the user's device is to have nothing, all of it is for the mirror.
        """
        kernel = self._entry.kernel
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
            exact=self._entry.world.settings.exact,
            strict=self._entry.world.settings.strict,
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
        arguments = launch_arguments(kernel.facts.parameters, question.given, self._entry.varying)
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
            return {Place.USER: self._entry.program, Place.MIRROR: mirror}
        world = self._entry.world
        key = self._entry.device.int_ptr, source, options
        known = world.programs.get(key)
        if known is None:
            known = build_program(
                world.context, self._entry.device, self._mirror.user.label, source, options
            )
            world.programs[key] = known
        return {Place.USER: known, Place.MIRROR: mirror}

    def _too_large_groups(self, programs: Mapping[Place, Any], launch: Launch) -> str:
        """Why a device cannot run the kernel with such work-groups; empty where both can."""
        devices = {Place.USER: self._entry.device, Place.MIRROR: self._mirror.device.handle}
        for place, program in programs.items():
            kernel = cl.Kernel(program, launch.kernel_name)
            most = kernel.get_work_group_info(
                cl.kernel_work_group_info.WORK_GROUP_SIZE, devices[place]
            )
            if launch.nd_range.group_items > most:
                return (
                    f"local size {launch.nd_range.local_size} has {launch.nd_range.group_items} items, "
                    f"but {self._entry.world.row(place)} runs at most {most} of this kernel"
                )
        return ""
