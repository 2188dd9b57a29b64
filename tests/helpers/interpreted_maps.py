"""Assertions about the kernels for a GPU, which Triton interprets on a CPU; run by itself, with TRITON_INTERPRET=1.

Triton decides when it is imported whether it interprets, so that the process of other tests cannot.
"""

from __future__ import annotations

import sys
import warnings
from itertools import product

import torch

from helpers.map_readings import assert_as_defined, inputs
from softpoint.functional import map_operator, map_statistics
from softpoint.kernels import triton_maps


def every_map_is_read_by_the_kernels() -> None:
    """Replace what asks for a GPU."""
    map_operator.runs_on_gpu = sys.modules["softpoint.functional.map_statistics"].runs_on_gpu = lambda *_: True
    map_operator._loops = lambda _: triton_maps


def the_kernels_give_what_the_definitions_give_in_float64() -> None:
    for size, dense in product([(1, 1), (5, 1), (12, 12), (33, 17), (3, 401)], [False, True]):
        assert_as_defined(size, 1.0, 0.0, dense)
    for dense in (False, True):
        assert_as_defined((33, 37), 40.0, -1000.0, dense)


def a_map_without_a_gradient_gets_zeros_even_if_it_holds_no_numbers() -> None:
    logits, target, _ = inputs((16, 16), 3.0)
    logits[0, 1] = torch.nan
    logits.requires_grad_()
    read = map_statistics(logits, target, jensen_shannon=True)
    assert read.jensen_shannon is not None
    losses = read.mean.sum(-1) + read.jensen_shannon
    assert losses.isnan().sum() == losses[0, 1].isnan().sum() == 1
    (slope,) = torch.autograd.grad(losses.nan_to_num(0).sum(), logits)
    assert (slope[0, 1] == 0).all() and (slope[0, 0] != 0).any()


def an_infinitely_low_cell_has_no_share() -> None:
    logits, target, _ = inputs((9, 11), 2.0)
    logits[..., 4, 5] = -torch.inf
    read, exact = map_statistics(logits, target), map_statistics(logits.double(), tuple(q.double() for q in target))
    torch.testing.assert_close(read.mean.double(), exact.mean, rtol=0, atol=1e-5)
    torch.testing.assert_close(read.log_total.double(), exact.log_total, rtol=1e-6, atol=0)


if __name__ == "__main__":
    every_map_is_read_by_the_kernels()
    the_kernels_give_what_the_definitions_give_in_float64()
    an_infinitely_low_cell_has_no_share()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of numpy, in which the interpreter computes with NaN
        a_map_without_a_gradient_gets_zeros_even_if_it_holds_no_numbers()
    print("as defined")
