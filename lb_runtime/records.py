"""`dataclass` as in the standard library, made sooner: else it is half of what importing this package costs.

The standard one writes six methods of each frozen class as text and has Python compile them. All but
`__init__` are the same for all classes but for the fields' names, and need not be compiled: they are put in
place here. What else there is (fields, slots, `replace`, `asdict`, matching) is the standard one's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # What type checkers know.
    from dataclasses import dataclass as dataclass
else:
    import dataclasses
    from operator import attrgetter
    from reprlib import recursive_repr

    def dataclass(cls=None, /, *, eq=True, frozen=False, slots=False):
        """As `dataclasses.dataclass`, but for other options and fields that are given by name alone."""
        if cls is None:
            return lambda found: dataclass(found, eq=eq, frozen=frozen, slots=slots)
        own = dict(vars(cls))
        made = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(cls)
        if "__init__" not in own:
            made.__init__ = _initialiser(made, frozen)
        if "__repr__" not in own:
            made.__repr__ = _representation(made)
        if frozen:
            _freeze(made, own, slots)
        if not eq:
            return made
        values = _values(made)
        if "__eq__" not in own:
            made.__eq__ = _equality(values)
        if own.get("__hash__") is None:
            made.__hash__ = _hash(values) if frozen else None
        return made

    def _initialiser(made, frozen):
        """`__init__` of a class, compiled from a text: what needs none takes longer to make each object."""
        known = {"_set": object.__setattr__, "_missing": dataclasses.MISSING}
        given, lines = [], []
        for field in dataclasses.fields(made):
            name = value = field.name
            if field.kw_only:
                raise TypeError(
                    f"field {name!r} is to be given by name, which this dataclass does not know"
                )
            if field.default_factory is not dataclasses.MISSING:
                known[f"_make_{name}"] = field.default_factory
                parameter = f"{name}=_missing"
                value = f"_make_{name}()"
                if field.init:
                    value = f"{value} if {name} is _missing else {name}"
            elif field.default is not dataclasses.MISSING:
                known[f"_default_{name}"] = field.default
                parameter = f"{name}=_default_{name}"
                value = name if field.init else f"_default_{name}"
            elif field.init:
                parameter = name
            else:
                # `__post_init__` is to set it.
                continue
            if field.init:
                given.append(parameter)
            lines.append(f"_set(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
        if hasattr(made, "__post_init__"):
            lines.append("self.__post_init__()")
        body = "\n    ".join(lines or ["pass"])
        exec(f"def __init__({', '.join(['self', *given])}):\n    {body}", known)  # noqa: S102
        made_up = known["__init__"]
        made_up.__qualname__ = f"{made.__qualname__}.__init__"
        return made_up

    def _freeze(made, own, slots):
        """Let no attribute be set or deleted, as the standard one does."""
        names = [field.name for field in dataclasses.fields(made)]

        def set_attribute(self, name, value):
            if type(self) is made or name in names:
                raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
            super(made, self).__setattr__(name, value)

        def delete_attribute(self, name):
            if type(self) is made or name in names:
                raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
            super(made, self).__delattr__(name)

        def state(self):
            return [getattr(self, name) for name in names]

        def set_state(self, values):
            for name, value in zip(names, values):
                object.__setattr__(self, name, value)

        made.__setattr__, made.__delattr__ = set_attribute, delete_attribute
        if slots and "__getstate__" not in own:
            # Without these, slots are copied and unpickled by setting them.
            made.__getstate__, made.__setstate__ = state, set_state

    def _values(made):
        """A function that gives the values by which two objects are compared, as a tuple."""
        names = [field.name for field in dataclasses.fields(made) if field.compare]
        if len(names) > 1:
            return attrgetter(*names)
        return lambda each: tuple(getattr(each, name) for name in names)

    def _equality(values):
        def equal(self, other):
            if other.__class__ is not self.__class__:
                return NotImplemented
            return values(self) == values(other)

        return equal

    def _hash(values):
        return lambda self: hash(values(self))

    def _representation(made):
        names = [field.name for field in dataclasses.fields(made) if field.repr]

        @recursive_repr()
        def represented(self):
            shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
            return f"{type(self).__qualname__}({shown})"

        return represented
