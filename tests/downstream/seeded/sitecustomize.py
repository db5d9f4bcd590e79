"""Makes `numpy.random.default_rng()` start at the same place in each process.

Python imports this at start-up where its folder is on the path. The examples of pyopencl draw their numbers
from an unseeded generator and print results made of them; so that two runs can be compared byte by byte,
both draw the same numbers.
"""

import numpy as np

_unseeded = np.random.default_rng


def _seeded(seed=0):
    return _unseeded(seed)


np.random.default_rng = _seeded
