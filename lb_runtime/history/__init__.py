"""What earlier processes found out about launches on this machine: shares, times, and what was not worth it.

`known` is what is kept of one kind of launch, `store` the file, `writer` what a running program uses.
"""
