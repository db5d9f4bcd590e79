"""Measuring ways to share kernels out beside each other, and the report of it."""
