"""Fused loops behind `softpoint.functional`: C++ for CPUs, Triton for GPUs, each an operator registered with torch.

Nothing here defines a result: the same mathematics in plain PyTorch is in `softpoint.functional`, which is what runs
where there is no compiler, for other types, and where a graph is exported or transformed.
"""
