"""`python -m lb_runtime.cli`: the command `lb` where its script is not on the path."""

from lb_runtime.cli.main import main

main()
