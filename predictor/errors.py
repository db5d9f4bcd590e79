"""Every exception that predictor raises, under one base class.

    PredictorError
    ├── CompileError       clang refused the kernel source (has filename, line, column)
    ├── FrontEndError      the front end itself could not run or gave what cannot be read
    ├── ModelError         a model file that is missing, damaged or of another version
    └── DatasetError       a data set that is missing or does not have the expected columns

Each message is one line: what was given, what was expected, what to do.
"""

from __future__ import annotations


class PredictorError(Exception):
    """Base class of all errors of this package."""


class CompileError(PredictorError):
    """clang refused the kernel source.

    `filename`, `line` and `column` (both from 1) are where clang's first error stands in the user's
    text; 0 where clang named no place.
    """

    def __init__(self, message: str, filename: str = "", line: int = 0, column: int = 0) -> None:
        place = f"{filename}:{line}:{column}: " if line else ""
        super().__init__(f"{place}error: {message}")
        self.message = message
        self.filename = filename
        self.line = line
        self.column = column


class FrontEndError(PredictorError):
    """The front end could not run, or gave something that cannot be read."""


class ModelError(PredictorError):
    """A model file that is missing, damaged or of another version."""


class DatasetError(PredictorError):
    """A data set that is missing, or lacks the expected columns."""
