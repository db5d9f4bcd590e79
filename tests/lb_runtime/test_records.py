"""Our `dataclass` makes what the standard one makes."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import pytest

from lb_runtime.records import dataclass


def make(decorator: Any, **options: Any) -> list[Any]:
    """Classes of one, several and no fields, made by a decorator."""

    class One:
        value: object

    class Several:
        number: int
        names: tuple[str, ...] = ()
        hidden: int = dataclasses.field(default=0, repr=False)
        apart: int = dataclasses.field(default=0, compare=False)

    class Empty:
        pass

    class Own:
        number: int

        def __eq__(self, other: object) -> bool:
            return True

        def __repr__(self) -> str:
            return "mine"

    return [decorator(**options)(each) for each in (One, Several, Empty, Own)]


OPTIONS: list[dict[str, Any]] = [
    {"frozen": True, "slots": True},
    {"frozen": True, "slots": True, "eq": False},
    {"frozen": True},
    {"slots": True},
    {},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_objects_are_compared_hashed_and_told_as_the_standard_ones(options: dict[str, Any]) -> None:
    nan = float("nan")
    for ours, theirs in zip(make(dataclass, **options), make(dataclasses.dataclass, **options)):
        given: list[tuple[Any, ...]] = {
            "One": [(1,), (1,), (nan,), (nan,), ((),)],
            "Several": [(1,), (1, ("a",)), (1, ("a",), 2), (1, ("a",), 2, 3)],
            "Empty": [(), ()],
            "Own": [(1,), (2,)],
        }[ours.__name__]
        mine, standard = [ours(*each) for each in given], [theirs(*each) for each in given]
        assert [repr(each) for each in mine] == [repr(each) for each in standard]
        for i in range(len(given)):
            assert ours.__name__ == "Own" or mine[i] != "else"
            assert [mine[i] == other for other in mine] == [standard[i] == o for o in standard]
        assert (ours.__hash__ is None) == (theirs.__hash__ is None)
        if ours.__hash__ is not None and options.get("eq", True) and ours.__name__ != "Own":
            assert [hash(each) for each in mine] == [hash(each) for each in standard]
        assert ours.__match_args__ == theirs.__match_args__
        assert [f.name for f in dataclasses.fields(ours)] == [
            f.name for f in dataclasses.fields(theirs)
        ]


@dataclass(frozen=True, slots=True)
class Place:
    """A class that pickle finds."""

    x: int
    y: int = 0


def test_frozen_objects_stay_as_they_are_and_can_be_replaced_and_pickled() -> None:
    place = Place(1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        place.x = 2  # type: ignore[misc]
    assert dataclasses.replace(place, y=3) == Place(1, 3)
    assert pickle.loads(pickle.dumps(place)) == place  # noqa: S301
    assert dataclasses.asdict(place) == {"x": 1, "y": 0}
