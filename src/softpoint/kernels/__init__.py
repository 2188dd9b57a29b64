"""Fused loops behind `softpoint.functional`, in C++ for CPUs and in Triton for GPUs.

Nothing here defines a result: the same mathematics in plain PyTorch is in `softpoint.functional`, which is what runs
where there is no compiler, for other types, and where a graph is exported or transformed.
"""
