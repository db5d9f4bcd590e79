"""Our `dataclass` makes what the standard one makes."""

from __future__ import annotations

import copy
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


def made_of_all_sorts(decorator: Any, **options: Any) -> Any:
    """A class with fields of all sorts, made by a decorator."""

    @decorator(**options)
    class Sorts:
        number: int
        names: list[str] = dataclasses.field(default_factory=list)
        kept: int = dataclasses.field(default=3, init=False)
        made: dict[str, int] = dataclasses.field(default_factory=dict, init=False)
        total: int = dataclasses.field(init=False)

        def __post_init__(self) -> None:
            if self.number < 0:
                raise ValueError("expected at least 0")
            object.__setattr__(self, "total", self.number + self.kept)

    return Sorts


@pytest.mark.parametrize("options", OPTIONS)
def test_objects_are_made_as_the_standard_ones(options: dict[str, Any]) -> None:
    ours, theirs = (
        made_of_all_sorts(each, **options) for each in (dataclass, dataclasses.dataclass)
    )
    for given, named in (((1,), {}), ((2, ["a"]), {}), ((3,), {"names": ["b"]})):
        mine, standard = ours(*given, **named), theirs(*given, **named)
        assert dataclasses.asdict(mine) == dataclasses.asdict(standard)
    assert ours(1).names is not ours(1).names
    assert ours(1).made is not ours(1).made
    for given, error in (((), TypeError), ((1, [], 3), TypeError), ((-1,), ValueError)):
        for each in (ours, theirs):
            with pytest.raises(error):
                each(*given)


@pytest.mark.parametrize("options", OPTIONS)
def test_attributes_are_set_and_deleted_as_the_standard_ones(options: dict[str, Any]) -> None:
    # With slots, the standard one fails otherwise than it would of a name that no field has.
    name = "number" if options.get("slots") else "other"

    def tried(made: Any) -> list[str]:
        class Part(made):  # type: ignore[misc]
            pass

        told = []
        for kind in (made, Part):
            for work in (
                lambda each: setattr(each, "number", 5),
                lambda each: delattr(each, "number"),
                lambda each: setattr(each, name, 5),
                lambda each: delattr(each, name),
            ):
                try:
                    work(kind(1))
                    told.append("")
                except AttributeError as error:
                    told.append(f"{type(error).__name__}: {error}")
        return told

    ours, theirs = (
        made_of_all_sorts(each, **options) for each in (dataclass, dataclasses.dataclass)
    )
    assert tried(ours) == tried(theirs)


def test_a_field_that_is_given_by_name_alone_is_refused() -> None:
    with pytest.raises(TypeError, match="field 'x' is to be given by name"):

        @dataclass
        class Named:
            x: int = dataclasses.field(kw_only=True)


def test_frozen_objects_stay_as_they_are_and_can_be_replaced_and_pickled() -> None:
    place = Place(1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        place.x = 2  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        del place.x
    assert dataclasses.replace(place, y=3) == Place(1, 3)
    assert pickle.loads(pickle.dumps(place)) == place  # noqa: S301
    assert copy.copy(place) == copy.deepcopy(place) == place
    assert dataclasses.asdict(place) == {"x": 1, "y": 0}
