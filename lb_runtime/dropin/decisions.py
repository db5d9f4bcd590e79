"""What becomes of the launches of one kernel with one range and one set of argument sizes.

At first they pass, while the kernel is looked at. Then the user's device is timed alone, a few times; a
launch too short to gain passes for good. From then on a policy says how each is run, and learns from it
(`lb_runtime.shares`): it begins where the model says, or where an earlier process has ended. The cuts that it
asks for are made beside the program; until one is there, launches run at the one before.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from lb_runtime.dropin.handout import AWAY, HOME, Groups
from lb_runtime.dropin.ready import Ready
from lb_runtime.dropin.tally import Tally
from lb_runtime.history.known import Code, Known
from lb_runtime.memory.byte_map import Place
from lb_runtime.shares.chunks import Prepared
from lb_runtime.shares.observation import Choice, Observation, lower_median

if TYPE_CHECKING:
    from lb_runtime.dropin.entry import Entry, Question
    from lb_runtime.shares.policy import Policy

ALONE_FIRST = 2
"""So many launches are timed on the user's device before the first split."""
UNLEARNED = 16
"""So many launches may end before they are learned from."""
MOST_CUTS = 32
"""Cuts of one kind of launch that are kept."""
PATIENCE, LONGEST_PATIENCE = 2, 16
"""The n-th move of a cut waits for n times as many launches since the one before: bytes move with it."""
SETTLED_AFTER = 9
"""After so many launches in one way it is what has been found out."""
ONE_OF = 3
"""Of so many launches the middle one is learned from then on."""
RESTS = ("single", "predicted")
"""Why a device takes whole launches, where nothing is to be measured."""
RECALLED_TIMES = 3
"""So few times of an earlier process are taken over that new ones soon outnumber them."""
NOTED_AFTER = 64
"""After so many launches more it is noted again."""


class InChunks(NamedTuple):
    """A launch is to run in chunks: as `ready` runs, but for the cut; `choice` says how fast devices are."""

    ready: Ready
    choice: Choice


class Decision:
    """The state of such launches. `code` is why they pass, empty where they do not.

    `known` is what an earlier process found out about them.
    """

    def __init__(self, entry: Entry, question: Question, known: Known | None = None) -> None:
        self.entry = entry
        self.question = question
        self.known = known
        self.code = "first-launches"
        self.detail = ""
        self.ready: Ready | None = None
        """The cut at which launches run, but for those that compare."""
        self.is_fixed = False
        """Whether the share was given, and launches are split whatever that gains."""
        self._policy: Policy | None = None
        self._cuts: OrderedDict[int, Ready | None] = OrderedDict()
        """What was made by the number of work-groups of the user's device; None where it is asked for."""
        self._divided: Ready | None = None
        """A cut that gives both devices work, as launches in chunks do."""
        self._may_chunk = True
        self._cutting_seconds = 0.0
        self._unlearned: deque[Observation] = deque(maxlen=UNLEARNED)
        self._warm: deque[object] = deque(maxlen=4)
        """The mirror's programs that have run."""
        self._alone_seconds: deque[float] = deque(maxlen=5)
        self._lock = Lock()
        self._skipped, self._varying = entry.skipped, entry.varying
        """What such launches may differ in, also where later ones may differ in more."""
        self._found: Code | None = None
        self._tally = Tally()
        self._moves = self._since_move = 0
        self._way: tuple[float, ...] = ()
        self._since_way = 0
        """How many launches in a row were chosen to run in one way."""
        self._since_noted = 0
        if known is not None:
            self._recall(known)

    def _recall(self, known: Known) -> None:
        """Begin where an earlier process has ended."""
        # A row may have been cleared while its launches went on: then it holds splits alone.
        self._alone_seconds.extend(each for each in known.alone_seconds[-RECALLED_TIMES:] if each)
        if self._is_short:
            self._found = "too-small"
            self.passes("too-small", f"{self._alone_text} alone, in an earlier process")
        elif known.cpu_share is None or known.code == "too-small" or not self._alone_seconds:
            self.known = None
        else:
            self._found = known.code

    @property
    def _is_short(self) -> bool:
        """Whether the launches take too little time to be split, as far as is known."""
        return (
            len(self._alone_seconds) >= ALONE_FIRST
            and lower_median(list(self._alone_seconds)) < self.entry.world.settings.min_seconds
        )

    @property
    def _alone_text(self) -> str:
        return f"{lower_median(list(self._alone_seconds)) * 1e3:.3g} ms"

    def begin(self, ready: Ready, policy: Policy | None) -> None:
        """The first cut is made, and `policy` says what comes then; without one the cut stays."""
        with self._lock:
            self.ready = ready
            self._policy = policy
            self.is_fixed = policy is None
            self._keep(ready.user_groups, ready)

    def choose(self) -> Ready | InChunks | str:
        """What to do with the next launch: how to run it, or why it passes."""
        if self.code:
            return self.code
        with self._lock:
            if self._policy is None:
                return self.ready or "first-launches"
            if len(self._alone_seconds) < ALONE_FIRST:
                return "timing"
            choice = self._policy.choose()
            if choice.whole == HOME:
                return "no-gain" if _is_rest(choice) else "timing"
            if choice.is_chunked and self._may_chunk and self._divided is not None:
                return InChunks(self._divided, choice)
            return self._cut(choice) or "first-launches"

    def rest(self) -> int:
        """How many launches pass now without being timed, because no split gains. They count as passed."""
        with self._lock:
            if self._policy is None or self.code or len(self._alone_seconds) < ALONE_FIRST:
                return 0
            return self._policy.skip() if _is_rest(self._policy.choose()) else 0

    def _cut(self, choice: Choice) -> Ready | None:
        """The cut that was chosen, where it is made; else it is asked for, and the one before serves."""
        if self.ready is None:
            return None
        user_share = choice.shares[HOME]
        total = self.ready.groups
        groups = round(user_share * total)
        if user_share > 0.0:
            groups = min(max(groups, 1), total - 1)
        if groups not in self._cuts:
            self._keep(groups, None)
            self.entry.make_cut(self, groups / total, groups)
        made = self._cuts[groups]
        if made is None or made is self.ready or choice.why == "compare":
            return made or self.ready
        # Away from one device and to one there is no waiting.
        is_split = choice.whole is None and len(self.ready.works) > 1
        if is_split and self._since_move < min(PATIENCE * self._moves, LONGEST_PATIENCE):
            return self.ready
        self.ready = made
        self._moves += is_split
        self._since_move = 0
        self._tally.moved()
        return made

    def cut_at(self, base: Ready, home: Groups, away: Groups) -> Ready | None:
        """The cut of what two devices did in chunks, as `base` runs; None where that is no cut.

        To be called by the thread that needs it: it may take milliseconds.
        """
        groups = home[1] - home[0]
        with self._lock:
            made = self._cuts.get(groups)
        if made is None:
            began = perf_counter()
            try:
                made = self.entry.cut_now(self, groups / base.groups)
            except Exception as error:
                self.entry.world.story.fault("cut", error)
            with self._lock:
                self._cutting_seconds = perf_counter() - began
        if (
            made is None
            or not made.may_chunk
            or not _is_of(made, base, {Place.USER: home, Place.MIRROR: away})
        ):
            with self._lock:
                self._may_chunk = False
            return None
        with self._lock:
            self._keep(groups, made)
        return made

    def prepared(self, base: Ready) -> Prepared:
        """The cuts that are there for launches in chunks, by the work-groups of the user's device."""
        with self._lock:
            places = tuple(
                groups
                for groups, ready in self._cuts.items()
                if ready is not None and ready.may_chunk and _runs_alike(ready, base)
            )
            return Prepared(places, self._cutting_seconds)

    def _keep(self, groups: int, ready: Ready | None) -> None:
        """Keep a cut by the work-groups of the user's device; None while it is being made."""
        self._cuts[groups] = ready
        if len(self._cuts) > MOST_CUTS:
            self._cuts.popitem(last=False)
        if self._divided is None and ready is not None and len(ready.works) > 1:
            self._divided = ready if ready.may_chunk else None

    def moved(self, groups: int, ready: Ready | None) -> None:
        """A cut that was asked for is there; None where it could not be made, and the one before stays."""
        with self._lock:
            self._keep(groups, ready or self.ready)

    def passes(self, code: str, detail: str) -> None:
        """Let all launches from now on pass."""
        self.detail = detail
        self.code = code
        self.entry.story.declined(code, detail)

    # What launches show

    def ran_alone(self, kernel_seconds: float, total_seconds: float) -> None:
        """Take in a whole launch on the user's device: what the kernel took, and all of it."""
        self.entry.story.alone(kernel_seconds, self.question.size)
        with self._lock:
            self._alone_seconds.append(kernel_seconds)
            self._tally.alone(total_seconds)
            self._unlearned.append(whole_at_home(total_seconds))
            is_short = self._is_short
        if is_short and not self.is_fixed and not self.code:
            self._found = "too-small"
            self.passes("too-small", f"{self._alone_text} alone")
            self.note()

    def ran(
        self,
        ready: Ready,
        total_seconds: float,
        kernel_seconds: Mapping[Place, float],
        busy_seconds: Mapping[Place, float],
        to_mirror_bytes: int,
        home_bytes: int,
        *,
        is_chunked: bool = False,
    ) -> None:
        """Take in a launch in which the mirror had a part, that has ended."""
        world = self.entry.world
        self.entry.story.split(
            cpu_share=ready.cpu_share,
            total_seconds=total_seconds,
            device_seconds={world.row(place): value for place, value in kernel_seconds.items()},
            bytes_to_mirror=to_mirror_bytes,
            bytes_home=home_bytes,
            size=self.question.size,
        )
        if self.is_fixed:
            return
        if not self._is_warm(ready):
            return
        home = ready.user_share
        seconds = [max(busy_seconds.get(place, 0.0), 1e-9) for place in (Place.USER, Place.MIRROR)]
        observation = Observation(
            (home, 1 - home),
            (seconds[HOME] if home > 0 else 0.0, seconds[AWAY] if home < 1 else 0.0),
            total_seconds,
            to_mirror_bytes + home_bytes,
            is_chunked,
        )
        with self._lock:
            self._tally.split(total_seconds, to_mirror_bytes, home_bytes)
            self._unlearned.append(observation)

    def _is_warm(self, ready: Ready) -> bool:
        """Whether a device has run the program before: some drivers compile at the first launch."""
        program = ready.programs.get(Place.MIRROR)
        if program in self._warm:
            return True
        self._warm.append(program)
        return False

    def learn(self) -> None:
        """Have the policy learn from the launches that have ended since."""
        with self._lock:
            if self._policy is None or not self._unlearned:
                return
            if self._since_way >= SETTLED_AFTER and len(self._unlearned) < ONE_OF:
                # Learning takes a core's time from a device: the middle one of a few launches will do.
                return
            launches = len(self._unlearned)
            if self._since_way >= SETTLED_AFTER:
                by_time = sorted(self._unlearned, key=lambda each: each.total_seconds)
                self._policy.learn(by_time[(launches - 1) // 2])
                self._unlearned.clear()
            while self._unlearned:
                self._policy.learn(self._unlearned.popleft())
            self._since_way += launches
            self._since_move += launches
            self._since_noted += launches
            choice = self._policy.choose()
            if choice.shares != self._way:
                self._way, self._since_way = choice.shares, 0
            began_to_rest = _is_rest(choice) and self._found != "no-gain"
            if began_to_rest:
                self._found = "no-gain"
            elif choice.whole != HOME and self._since_way >= SETTLED_AFTER:
                is_new, self._found = self._found != "split", "split"
                is_due = is_new or self._since_noted >= NOTED_AFTER
            else:
                is_due = False
        if began_to_rest:
            self.entry.story.declined(
                "no-gain",
                "the user's device alone was as fast; a split is tried again now and then",
            )
        if began_to_rest or is_due:
            self.note()

    def note(self) -> None:
        """Have the history keep what is known by now, where that is worth keeping."""
        recall, ready = self.entry.recall, self.ready
        if recall is None or self.is_fixed:
            return
        with self._lock:
            # While a split is tried again, what was found before stands.
            code = self._found or ("split" if self._tally.split_launches else None)
            if code is None or not self._alone_seconds or self.code not in ("", code):
                return
            share = None if ready is None else ready.cpu_share
            if share is None and code != "too-small":
                return
            if not (self._tally.alone_launches or self._tally.split_launches):
                return
            key = recall.key(self.question, self._skipped, self._varying)
            known = self._tally.take(recall, key, code, share)
            self._since_noted = 0
        recall.note(known)


def _is_of(made: Ready, base: Ready, done: Mapping[Place, Groups]) -> bool:
    """Whether each place's part of a cut is what it has done of the launch that `base` runs."""
    for place, (start, stop) in done.items():
        work, piece = made.work(place), base.piece(place, start, stop)
        if start == stop:
            if work is not None:
                return False
        elif work is None or (work.global_offset, work.global_size) != (
            piece.global_offset,
            piece.global_size,
        ):
            return False
    return True


def _runs_alike(ready: Ready, base: Ready) -> bool:
    """Whether both places take part in a cut, from the same sides as in `base`."""
    return (
        len(ready.works) > 1
        and ready.dimension == base.dimension
        and ready.is_home_first == base.is_home_first
    )


def _is_rest(choice: Choice) -> bool:
    """Whether the user's device takes launches because no split gains, and not only to be timed."""
    return choice.whole == HOME and choice.why in RESTS


def whole_at_home(seconds: float) -> Observation:
    """A whole launch on the program's own device."""
    seconds = max(seconds, 1e-9)
    return Observation((1.0, 0.0), (seconds, 0.0), seconds)
