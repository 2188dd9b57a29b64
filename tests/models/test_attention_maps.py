"""The maps of attention blocks are those that the network multiplied its features by."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from softpoint.layers import DynamicSpatialAttention, SpatialAttention
from softpoint.models import FusionDecoder, KeypointNet, Small, SoftArgmaxHead
from softpoint.models.attention_maps import collect_attention


def network(attention: Any) -> KeypointNet:
    torch.manual_seed(0)
    decoder = partial(FusionDecoder, channels=8)
    return KeypointNet(2, Small(width=8), decoder, SoftArgmaxHead, attention, attention_stages=(3,)).eval()


@pytest.mark.parametrize("weights", [False, True])
def test_masks_and_weights_are_those_of_the_forward(weights: bool) -> None:
    net = network(partial(DynamicSpatialAttention, return_router_weights=weights, temperature=2.0))
    image = torch.rand(2, 3, 64, 96)
    with torch.no_grad(), collect_attention(net.attention) as maps:
        expected = net(image, return_attention=True)["attention"]
    assert list(maps) == list(expected) == ["stage3", "head"]
    for place, (masks, *router) in expected.items():
        for i, image_maps in enumerate(maps[place]):
            np.testing.assert_array_equal(image_maps.mask, masks[i, 0])
            # In logits, which a sigmoid of temperature 2 gave, the mask is the weighted mean of its branches.
            logits = torch.from_numpy(image_maps.branches).logit()
            mixed = (logits * torch.from_numpy(image_maps.router_weights)[:, None, None]).sum(0)
            torch.testing.assert_close(mixed, masks[i, 0].logit(), atol=1e-4, rtol=1e-4)
            for weight in router:
                np.testing.assert_allclose(image_maps.router_weights, weight[i], rtol=1e-6)


def test_a_block_of_one_branch_has_a_mask_alone_and_nothing_is_collected_afterwards() -> None:
    net, image = network(SpatialAttention), torch.rand(1, 3, 64, 64)
    with collect_attention(net.attention) as maps:
        net(image)
    assert len(maps["head"][0].branches) == len(maps["head"][0].router_weights) == 0
    maps.clear()
    net(image)
    assert not maps
    with collect_attention(network(None).attention) as maps:
        net(image)
    assert not maps


def test_a_forward_of_another_thread_is_not_collected() -> None:
    net, image = network(SpatialAttention), torch.rand(1, 3, 64, 64)
    with torch.no_grad(), collect_attention(net.attention) as maps:
        net(image)
        expected = maps["head"][0].mask
        with ThreadPoolExecutor(1) as other:
            other.submit(net, torch.rand(1, 3, 64, 64)).result()
    assert maps["head"][0].mask is expected


@pytest.mark.usefixtures("unchecked")
def test_maps_of_a_compiled_block_are_collected_without_compiling_it_again() -> None:
    graphs: list[Any] = []
    block, features = DynamicSpatialAttention(), torch.rand(2, 4, 8, 8)
    block.compile(backend=lambda graph, _: graphs.append(graph) or graph.forward)
    for _ in range(2):
        block(features)
        with collect_attention(nn.ModuleDict({"head": block})) as maps:
            _, masks = block(features)
        np.testing.assert_array_equal([each.mask for each in maps["head"]], masks[:, 0].detach())
    assert len(graphs) == 1
