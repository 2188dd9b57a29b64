"""A training that starts from a finished model: what fits by name is copied, and the rest is said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from softpoint.inference.build_model import IGNORED_ARGUMENTS
from softpoint.inference.checkpoint import trained_images
from softpoint.inference.checkpoint_content import Content, read_content
from softpoint.inference.run_record import one_line
from softpoint.labels.skeleton import MAX_KEYPOINTS
from softpoint.models import KeypointNet
from softpoint.models.backbones.backbone import first_convolution, fit_channels
from softpoint.tables import NumberTable
from softpoint.training.checkpoint_io import BEST, LAST, find_in_run
from softpoint.training.resume import changed_settings

# Parts of a network, in the order of the table; calibrations are fitted anew.
OF_SEVERAL = ("mark", "finder")  # subjects, which other networks lack
PARTS = ("backbone", "decoder", "attention", "head", *OF_SEVERAL)
_ANEW = "finder.calibration"


class Transfer(NamedTuple):
    """The outcome of `start_from`."""

    path: Path
    copied: dict[str, int]  # tensors that were copied, by part
    tensors: dict[str, int]  # all that the part has
    shared: list[str]  # keypoints whose weights were copied: those that both have, where something of the head fits
    new: list[str]  # keypoints that start from random weights
    left_out: list[str]  # keypoints of the model that the training has not
    changes: dict[str, tuple[Any, Any]]  # settings of the network that differ, as (in the model, now)

    @property
    def table(self) -> NumberTable:
        """How much of each part of the network was copied."""
        table = NumberTable("part", ["copied", "of"])
        for part, count in self.tensors.items():
            table.add_row(f"tensors of {part}", str(self.copied[part]), str(count))
        table.add_row("keypoints", str(len(self.shared)), str(len(self.shared) + len(self.new)))
        return table

    @property
    def differences(self) -> list[str]:
        """The settings of the network that differ, as sentences."""
        return [f"the model had {one_line(f'{key}={was}', 120)}, not {now}" for key, (was, now) in self.changes.items()]

    def __str__(self) -> str:
        new = "new, from random weights" if self.shared else "from random weights, since nothing of the head fits"
        names = {new: self.new, "of the model alone": self.left_out}
        lines = [f"keypoints {kind}: {one_line(', '.join(found))}" for kind, found in names.items() if found]
        lines += self.differences
        lines.append(
            "not taken over: the state of the optimizer, and the calibration, which is fitted anew; mean and std of the"
            " input are those of this backbone"
        )
        return "\n".join(lines)


def find_model(place: str) -> Content:
    """Return the model at init=PLACE: the best epoch of a run's folder, or what `read_checkpoint` reads.

    Raises FileNotFoundError and ValueError as that does, and ValueError for an ensemble.
    """
    try:
        content = read_content(find_in_run(place, [BEST, LAST]))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"init={place}: {error}; init= takes the folder of a run, a .ckpt file, a folder of softpoint export, or"
            " hf://user/name"
        ) from error
    if members := content.config["model"].get("members"):
        raise ValueError(f"init={place} is an ensemble of {len(members)} models; start from one of its members")
    return content


def start_from(
    content: Content, net: KeypointNet, names: Sequence[str], config: Mapping[str, Any], make_net: Callable[..., Any]
) -> Transfer:
    """Copy the weights of a model into `net` where name and shape agree, and return what was copied.

    A weight that has rows for each keypoint is copied row by row, by the `names` of the keypoints. `make_net` is called
    with `num_keypoints` to learn which weights have such rows, and `config` is that of the new network. Raises
    ValueError where nothing of the backbone fits.
    """
    parts = net.state_dict().items()
    state = {name: value for name, value in parts if name.partition(".")[0] in PARTS and name != _ANEW}
    rows = _rows_per_keypoint(net, state, len(names), make_net)
    copied, convolution = {}, first_convolution(net.backbone)  # type: ignore[arg-type]
    first = convolution and f"backbone.{convolution[0]}.weight"
    for name in state:
        if (old_name := _name_in(content.weights, name)) is None:
            continue
        old = content.weights[old_name]
        if name == first and old.dim() == 4 and old.shape[1] != state[name].shape[1]:
            old = fit_channels(old, state[name].shape[1])
        fitted = _fitted(state[name], old, rows[name], names, content.skeleton.names)
        if fitted is not None:
            copied[name] = fitted
    tensors, fitting = (_count(found) for found in (state, copied))
    counts = {part: fitting[part] for part in PARTS if tensors[part]}
    transfer = Transfer(
        content.path,
        counts,
        {part: tensors[part] for part in counts},
        *_compared(names, content.skeleton.names if any(rows[name] for name in copied) else ()),
        _changes(architecture(content.config["model"]), architecture(config)),
    )
    if not counts.get("backbone"):
        listed = "; ".join(transfer.differences) or "its tensors have other names"
        raise ValueError(
            f"init={content.address or content.path}: nothing of its backbone fits this network, which needs"
            f" the backbone= of its run: {listed}"
        )
    net.load_state_dict(copied, strict=False)
    _inherit(net.backbone, content)
    return transfer


def _name_in(weights: Mapping[str, Tensor], name: str) -> str | None:
    """Return the name of a weight in a model whose normalizations may be of one stage, or one for each of two.

    >>> _name_in({"a.weight": torch.zeros(1)}, "a.second.weight"), _name_in({"a.first.bias": torch.zeros(1)}, "a.bias")
    ('a.weight', 'a.first.bias')
    """
    path, _, leaf = name.rpartition(".")
    of_one = f"{path.removesuffix('.first').removesuffix('.second')}.{leaf}"
    return next((found for found in (name, of_one, f"{path}.first.{leaf}") if found in weights), None)


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the settings of networks that differ; a part of several subjects that one of them lacks is one.

    >>> _changes({"head": {"window": 7}}, {"head": {"window": 7}, "finder": {"decoder": {"stride": 4}}})
    {'finder': (False, True)}
    """
    lacking = [part for part in OF_SEVERAL if bool(before.get(part)) != bool(now.get(part))]
    one, other = ({key: value for key, value in each.items() if key not in lacking} for each in (before, now))
    return {part: (bool(before.get(part)), bool(now.get(part))) for part in lacking} | changed_settings(one, other)


def _count(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Return the number of tensors of each part, without counters of batches."""
    return {
        part: sum(name.startswith(f"{part}.") and value.dim() > 0 for name, value in state.items()) for part in PARTS
    }


def _compared(names: Sequence[str], before: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Return the keypoints that both have, the new ones, and those that are left out.

    >>> _compared(["nose", "ear"], ["tail", "nose"])
    (['nose'], ['ear'], ['tail'])
    """
    shared = [name for name in names if name in before]
    return shared, [name for name in names if name not in before], [name for name in before if name not in names]


def _rows_per_keypoint(
    net: KeypointNet, state: Mapping[str, Tensor], count: int, make_net: Callable[..., Any]
) -> dict[str, int]:
    """Return how many rows of each weight of a network of `count` keypoints belong to one of them.

    They are those that a network of more keypoints has more of.
    """
    more = MAX_KEYPOINTS + 1 - count  # never 0, as no skeleton has so many
    with torch.device("meta"):
        wide = make_net(num_keypoints=count + more)
        if getattr(net.head, "visibility", None) is not None:
            wide.head.set_visibility(True)
    sizes = {name: value.shape[0] for name, value in wide.head.state_dict(prefix="head.").items() if value.dim()}
    return {name: (sizes[name] - len(value)) // more if name in sizes else 0 for name, value in state.items()}


def _fitted(value: Tensor, old: Tensor, rows: int, names: Sequence[str], before: Sequence[str]) -> Tensor | None:
    """Return `value` with what it can take over from `old`; None where the shapes do not agree.

    The keypoints have `rows` rows each, in their order; what follows them, such as a background, is copied.

    >>> new, old = torch.zeros(4, 1), torch.tensor([[1.0], [2.0], [9.0]])
    >>> _fitted(new, old, 1, ("tail", "ear", "nose"), ("nose", "tail")).flatten().tolist()
    [2.0, 0.0, 1.0, 9.0]
    """
    rest = value.shape[0] - rows * len(names) if value.dim() else 0
    expected = (rows * len(before) + rest, *value.shape[1:]) if rows else tuple(value.shape)
    if tuple(old.shape) != expected:
        return None
    if not rows:
        return old.to(value.dtype)
    fitted = value.clone()
    for k, name in enumerate(names):
        if name in before:
            j = before.index(name)
            fitted[k * rows : (k + 1) * rows] = old[j * rows : (j + 1) * rows].to(value.dtype)
    if rest:
        fitted[-rest:] = old[-rest:].to(value.dtype)
    return fitted


def known_held_out(content: Content, sources: Mapping[str, Any]) -> set[str]:
    """Return the images in the val and test sources that the model, or one that it started from, was trained on."""
    return _images(sources, "val", "test") & _known(content, sources)


def earlier_images(content: Content, sources: Mapping[str, Any]) -> list[str]:
    """Return the images that a model was trained on, and those it started from, but that no source trains on now."""
    return sorted(_known(content, sources) - _images(sources, "train"))


def _known(content: Content, sources: Mapping[str, Any]) -> set[str]:
    return respelled(trained_images(content.splits), _images(sources, *sources))


def respelled(known: set[str], images: set[str]) -> set[str]:
    """Return the paths of `known` images as they are from the folder of `images`, if half of them are found so.

    The same set starts from another folder where it was one of a list before, or is one now.

    >>> sorted(respelled({"1.png", "2.png"}, {"a/1.png", "a/2.png", "b/1.png"})), respelled({"a/1.png"}, {"1.png"})
    (['a/1.png', 'a/2.png'], {'1.png'})
    """
    found = Counter({("", ""): len(known & images)})
    found.update((head, "") for name in known for head, tail in _divided(name) if tail in images)
    found.update(("", head) for image in images for head, tail in _divided(image) if tail in known)
    (before, now), most = found.most_common(1)[0]
    return {now + name.removeprefix(before) for name in known} if 2 * most >= len(known) else known


def _divided(path: str) -> Iterator[tuple[str, str]]:
    """Yield each folder that a path begins with, and the rest.

    >>> list(_divided("a/b/1.png"))
    [('a/', 'b/1.png'), ('a/b/', '1.png')]
    """
    parts = path.split("/")
    yield from (("/".join([*parts[:i], ""]), "/".join(parts[i:])) for i in range(1, len(parts)))


def _images(sources: Mapping[str, Any], *splits: str) -> set[str]:
    labels = [labels for split in splits if (labels := getattr(sources.get(split), "labels", None))]
    return {path for part in labels for path in part.paths}


def trained_on(content: Content, sources: Mapping[str, Any]) -> str:
    """Return a warning of images in the val and test sources that the model was trained on; "" for none."""
    if not (known := known_held_out(content, sources)):
        return ""
    count = len(_images(sources, "val", "test"))
    return (
        f"the model of init was trained on {len(known)} of the {count} images of val and test, such"
        f" as {one_line(min(known), 80)}: their errors will be too small; hold out the images that its run held out, by"
        " data.splits"
    )


def _inherit(backbone: Any, content: Content) -> None:
    """Name the model, and the weights and the license that it started from itself, as those of the backbone."""
    keep_start(backbone, content.record)
    start = backbone.started_from or {"license": None}
    path = content.path.resolve()
    folder = path.parent.parent if path.parent.name == "checkpoints" else path.parent
    name = content.address or (path.name if path.is_dir() else f"{folder.name}/{path.name}")
    before = f", which started from {start['weights']}" if "weights" in start else ""
    backbone.started_from = {"weights": f"{name}{before}", "license": start["license"]}


def keep_start(backbone: Any, record: Mapping[str, Any]) -> None:
    """Name the weights and the license that a run started from, by its record, as those of a backbone."""
    weights, license_ = (record.get(key) for key in ("starting_weights", "weights_license"))
    backbone.started_from = None
    if isinstance(weights, str):
        known = license_ if isinstance(license_, str) else None
        backbone.started_from = {"weights": one_line(weights), "license": known}


def architecture(model: Any) -> dict[str, Any]:
    """Return the config of a network without what concerns its first weights."""
    if not isinstance(model, Mapping):
        return {}
    return {
        str(key): architecture(value) if isinstance(value, Mapping) else value
        for key, value in model.items()
        if key not in IGNORED_ARGUMENTS
    }
