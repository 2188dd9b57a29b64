"""Whether the loops of softpoint.kernels run here, as they must where there is a compiler."""

from __future__ import annotations

import pytest

from softpoint.kernels.library import WANTED, compilers, library

HERE = WANTED and library() is not None
assert HERE or not WANTED or not compilers(), "softpoint's C++ loops do not compile here"
compiled = pytest.mark.skipif(not HERE, reason="there is no C++ compiler, or SOFTPOINT_KERNELS=off")
