"""Predicts the share of an OpenCL launch that the CPU should take, from the kernel's program graph.

`predictor.predict` is the door that a runtime uses; it needs numpy, and never torch nor scikit-learn.
"""
