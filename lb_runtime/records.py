"""`dataclass` as in the standard library, in half the time: most of what importing this package costs.

The standard one writes six methods of each frozen class as text and has Python compile them. Comparison, hash
and text are the same for all classes but for the fields' names, and need not be compiled: they are put in
place here. All else (`__init__`, slots, frozen fields, `replace`, `fields`, pickling) is the standard one's.
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

    def dataclass(cls=None, /, *, eq=True, **options):
        """As `dataclasses.dataclass`, with all of its options but `repr`, `order` and `unsafe_hash`."""
        if cls is None:
            return lambda found: dataclass(found, eq=eq, **options)
        own = dict(vars(cls))
        made = dataclasses.dataclass(repr=False, eq=False, **options)(cls)
        if "__repr__" not in own:
            made.__repr__ = _representation(made)
        if not eq:
            return made
        values = _values(made)
        if "__eq__" not in own:
            made.__eq__ = _equality(values)
        if own.get("__hash__") is None:
            made.__hash__ = _hash(values) if options.get("frozen") else None
        return made

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
