"""One ONNX file from the bytes of an image to the subjects in it: a finder, and a loop that reads each subject."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from softpoint.extras import require
from softpoint.inference.checkpoint import Checkpoint
from softpoint.inference.export.formats import Layout, quiet
from softpoint.inference.export.graph import ExportModule, example_inputs
from softpoint.inference.export.resample_region import translations
from softpoint.inference.export.subjects import FindSubjects, ReadSubject, SamePoses
from softpoint.runtime import KEY


def write_subjects(
    checkpoint: Checkpoint, module: ExportModule, path: Path, metadata: Mapping[str, Any], layout: Layout
) -> None:
    """Write the file that `metadata` describes.

    Its inputs are `images` uint8 (1, H, W, C) and, where it is given, `threshold` (); its outputs those of the module
    and `scores` (n,) and `boxes` (n, 4), of n subjects, the likeliest first. What follows the finder runs once for each
    subject: without any, it costs nothing.
    """
    onnx = require("onnx", "export", "exporting")
    most, threshold = metadata["finder"]["max_subjects"], metadata["finder"]["threshold"]
    image, box = example_inputs(module, layout.size or module.size, 1)
    free = torch.export.Dim.DYNAMIC
    size = {} if layout.size else {1: free, 2: free}
    points = torch.zeros(2, checkpoint.net.num_keypoints, 2), torch.zeros(2, 4)
    parts = [
        (FindSubjects(checkpoint, most), (image, torch.tensor(threshold)), (size, {}), ["boxes", "scores"]),
        (ReadSubject(module), (image, box), (size, {}), module.outputs),
        (SamePoses(most), points, ({0: free}, {0: free}), ["pairs"]),
    ]
    find, read, same = (
        onnx.compose.add_prefix(_traced(part, inputs, dynamic, outputs, layout.opset), f"{name}/")
        for name, (part, inputs, dynamic, outputs) in zip(("find", "read", "same"), parts, strict=True)
    )
    shape = [1, *(layout.size or ("height", "width")), image.shape[-1]]
    model = _joined(onnx, find, read, same, shape, metadata["finder"])
    for name, text in {KEY: json.dumps(metadata), "producer": "softpoint"}.items():
        model.metadata_props.add(key=name, value=text)
    onnx.checker.check_model(model)
    onnx.save_model(model, str(path))


def _traced(part: nn.Module, inputs: tuple[Any, ...], dynamic: Any, outputs: Sequence[str], opset: int) -> Any:
    """Return a module as a model of ONNX, whose inputs are called 0 and 1."""
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            part.eval(), inputs, dynamo=True, opset_version=opset, verbose=False, input_names=["0", "1"],
            output_names=outputs, dynamic_shapes=dynamic, custom_translation_table=translations(),
        )  # fmt: skip
    assert program is not None
    return program.model_proto


def _joined(onnx: Any, find: Any, read: Any, same: Any, image: Sequence[int | str], finder: Mapping[str, Any]) -> Any:
    """Return the model of the three, of which `read` becomes the body of a loop."""
    helper, node = onnx.helper, onnx.helper.make_node
    outputs = [output.name.removeprefix("read/") for output in read.graph.output]
    kinds = {"index": onnx.TensorProto.INT64, "go": onnx.TensorProto.BOOL, "going": onnx.TensorProto.BOOL}
    index, go, going = (helper.make_tensor_value_info(name, kind, []) for name, kind in kinds.items())
    # Its weights are the body's own, as onnxruntime rearranges no others for its convolutions.
    body = helper.make_graph(
        [
            node("Identity", ["go"], ["going"]),
            node("Identity", ["images"], ["read/0"]),
            node("Gather", ["find/boxes", "index"], ["box"]),
            node("Unsqueeze", ["box", "first"], ["read/1"]),
            *read.graph.node,
        ],
        "subject", [index, go], [going, *read.graph.output], read.graph.initializer,
    )  # fmt: skip
    nodes = [
        node("Identity", ["images"], ["find/0"]),
        node("Identity", ["threshold"], ["find/1"]),
        *find.graph.node,
        node("Size", ["find/scores"], ["count"]),
        node("Loop", ["count", ""], [f"{name}/each" for name in outputs], body=body),
        *(node("Squeeze", [f"{name}/each", "second"], [f"{name}/all"]) for name in outputs),
        node("Identity", ["keypoints/all"], ["same/0"]),
        node("Identity", ["find/boxes"], ["same/1"]),
        *same.graph.node,
        node("Loop", ["count", "", "none"], ["distinct"], body=_distinct(onnx, finder["max_subjects"])),
        node("NonZero", ["distinct"], ["distinct/rows"]),
        node("Squeeze", ["distinct/rows", "first"], ["kept"]),
        *(node("Gather", [f"{name}/all", "kept"], [name], axis=0) for name in outputs),
        *(node("Gather", [f"find/{name}", "kept"], [name], axis=0) for name in ("scores", "boxes")),
    ]
    constants = {
        "threshold": np.array(finder["threshold"], np.float32),
        "first": np.array([0]),
        "second": np.array([1]),
    }
    constants |= {"none": np.zeros(finder["max_subjects"], bool), "rows": np.arange(finder["max_subjects"])}
    weights = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    weights += [*find.graph.initializer, *same.graph.initializer]
    inputs = [
        helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, image),
        helper.make_tensor_value_info("threshold", onnx.TensorProto.FLOAT, []),
    ]
    shapes = {value.name.removeprefix("read/"): value for value in read.graph.output}
    shapes |= {value.name.removeprefix("find/"): value for value in find.graph.output}
    results = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["subjects", *_sizes(shapes[name])[1:]])
        for name in [*outputs, "scores", "boxes"]
    ]
    graph = helper.make_graph(nodes, "subjects", inputs, results, weights)
    return helper.make_model(graph, opset_imports=find.opset_import, ir_version=find.ir_version)


def _distinct(onnx: Any, most: int) -> Any:
    """Return the body of a loop over the rows of `same/pairs`, which keeps those that are like none kept before."""
    node, tensor = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    whole, truth = onnx.TensorProto.INT64, onnx.TensorProto.BOOL
    nodes = [
        node("Identity", ["more"], ["going"]),
        node("Gather", ["same/pairs", "row"], ["alike"]),
        node("And", ["alike", "before"], ["clashes"]),
        node("Cast", ["clashes"], ["numbers"], to=whole),
        node("ReduceMax", ["numbers"], ["largest"], keepdims=0),
        node("Cast", ["largest"], ["clash"], to=truth),
        node("Not", ["clash"], ["own"]),
        node("Equal", ["rows", "row"], ["here"]),
        node("And", ["here", "own"], ["new"]),
        node("Or", ["before", "new"], ["after"]),
    ]
    inputs = [tensor("row", whole, []), tensor("more", truth, []), tensor("before", truth, [most])]
    return onnx.helper.make_graph(
        nodes, "distinct", inputs, [tensor("going", truth, []), tensor("after", truth, [most])]
    )


def _sizes(value: Any) -> list[int]:
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]
