"""Kernels that a generator writes, free of races by construction, and the checks that each must pass.

`draft` holds a kernel while it is written, `expressions` writes values, indices and conditions,
`patterns` and `group_patterns` write what a kernel does to its buffers, `kernels` puts all together,
`check` runs a kernel whole and split and compares every byte.
"""
