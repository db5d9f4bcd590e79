"""Unmodified pyopencl programs on both devices: what stands behind `lb_runtime.install`."""
