"""`python -m lb_runtime PROGRAM` is `lb exec PROGRAM`, for those who choose the interpreter."""

from __future__ import annotations

import sys

from lb_runtime.cli.main import main

if __name__ == "__main__":
    main(["exec", *sys.argv[1:]])
