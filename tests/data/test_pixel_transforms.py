"""albumentations' pixel-level transforms are a function of the seed, and those that may move pixels are refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import albumentations
import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from softpoint.data.augment import Augment

# They need more than an image, or return floats; and a text needs a font.
REFUSED = {
    "FDA", "FromFloat", "HistogramMatching", "Normalize", "PixelDistributionAdaptation", "TextImage", "ToFloat",
}  # fmt: skip


def below(base: type) -> Iterator[type]:
    for child in base.__subclasses__():
        yield child
        yield from below(child)


EVERY = sorted({child.__name__ for child in below(albumentations.ImageOnlyTransform)} - REFUSED)
EVERY = [name for name in EVERY if hasattr(albumentations, name)]


def canvas(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def augmented(pixel: list[dict[str, Any]]) -> Augment:
    """The augmentation that a YAML with these transforms makes."""
    config = {"_target_": "softpoint.data.augment.Augment", "pixel": pixel}
    result = instantiate(OmegaConf.create(config))
    assert isinstance(result, Augment)
    return result


@pytest.mark.filterwarnings("ignore")  # of the library, about its own arguments
@pytest.mark.parametrize("name", EVERY)
def test_a_transform_is_a_function_of_the_seed_and_the_image(name: str) -> None:
    augment = augmented([{"_target_": f"albumentations.{name}", "p": 0.9}])
    images = [canvas(seed) for seed in range(4)]
    alone = [augment.recolor(np.random.default_rng(seed), images[seed]) for seed in range(4)]
    for seed in (3, 1, 0, 2):  # another order, and another image in between
        augment.recolor(np.random.default_rng(9), canvas(9))
        assert np.array_equal(augment.recolor(np.random.default_rng(seed), images[seed]), alone[seed])
    assert all(np.array_equal(image, canvas(seed)) for seed, image in enumerate(images))
    assert all(
        result.shape == image.shape and result.dtype == np.uint8 for result, image in zip(alone, images, strict=True)
    )


def test_the_library_has_most_of_its_transforms_tested() -> None:
    assert len(EVERY) > 45 and {"CLAHE", "MotionBlur", "ImageCompression", "RandomFog"} <= {*EVERY}


def test_transforms_follow_the_other_steps_and_do_not_change_their_draws() -> None:
    invert = {"_target_": "albumentations.InvertImg", "p": 1}
    plain = Augment(brightness=0.3, noise=0.1, recolor_probability=1.0)
    both = Augment(brightness=0.3, noise=0.1, recolor_probability=1.0, pixel=augmented([invert]).pixel)
    one, two = np.random.default_rng(4), np.random.default_rng(4)
    assert np.array_equal(both.recolor(two, canvas(0)), 255 - plain.recolor(one, canvas(0)))
    assert one.random() == two.random()


def test_each_transform_has_its_own_probability_and_random_numbers() -> None:
    coin = {"_target_": "albumentations.InvertImg", "p": 0.5}
    augment, image = augmented([coin, coin]), np.zeros((4, 4, 3), np.uint8)
    inverted = [augment.recolor(np.random.default_rng(seed), image).any() for seed in range(400)]
    assert np.mean(inverted) == pytest.approx(0.5, abs=0.08)  # twins that agreed would cancel each other out


def test_a_composition_of_pixel_level_transforms_is_allowed() -> None:
    transforms = [{"_target_": f"albumentations.{name}", "p": 1} for name in ("InvertImg", "ToGray")]
    augment = augmented([{"_target_": "albumentations.OneOf", "transforms": transforms, "p": 1}])
    results = [augment.recolor(np.random.default_rng(seed), canvas(0)) for seed in range(12)]
    inverted = [np.array_equal(result, 255 - canvas(0)) for result in results]
    assert 0 < sum(inverted) < 12
    again = [augment.recolor(np.random.default_rng(seed), canvas(0)) for seed in range(12)]
    assert all(np.array_equal(a, b) for a, b in zip(results, again, strict=True))


FLIP = {"_target_": "albumentations.HorizontalFlip"}


@pytest.mark.parametrize(
    ("pixel", "message"),
    [
        (FLIP, r"augment\.pixel: HorizontalFlip is no pixel-level transform .* may move pixels .* use augment\.rotate"),
        ({"_target_": "albumentations.OneOf", "transforms": [FLIP]}, r"augment\.pixel: HorizontalFlip is no pixel-"),
        ({"_target_": "albumentations.Normalize"}, r"Normalize makes float32 images .* choose a transform that keeps"),
        ({"_target_": "albumentations.FDA"}, r"FDA cannot be applied to an image alone: .*fda_metadata"),
        ({"p": 0.5}, r"augment\.pixel: DictConfig is no pixel-level transform of albumentations"),
    ],
)
def test_a_transform_that_may_move_or_retype_pixels_is_refused(pixel: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message):
        augmented([pixel])


def test_a_number_in_place_of_the_list_is_refused() -> None:
    with pytest.raises(ValueError, match=r"augment\.pixel=50 is not a list .*, such as \[\{_target_: albument"):
        Augment(pixel=50)
