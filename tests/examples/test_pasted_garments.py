"""The scenes that the examples on segmentation and detection train on."""

import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.examples.script import ROOT

sys.path.append(str(ROOT / "examples"))

import pasted_garments

SPLITS = ["training", "validation", "test"]


def garments(count=30, seed=0):
    """Return bright squares with a hole and dark specks, of random classes."""
    rng = np.random.default_rng(seed)
    images = np.zeros((count, 28, 28), np.float32)
    images[:, 4:24, 6:20] = rng.uniform(0.5, 1, (count, 20, 14))
    images[:, 10:14, 10:14] = 0
    images[:, 1, 1] = 0.01
    return images, rng.integers(10, size=count)


@pytest.fixture(scope="module")
def made():
    return pasted_garments.scenes(garments(), pasted_garments.backgrounds("training"), 200, seed=1)


def test_boxes_are_tight_around_the_masks_and_hold_one_class(made):
    assert made.images.shape == (200, 96, 96, 3) and made.images.dtype == np.uint8
    for mask, boxes, classes in zip(made.masks, made.boxes.astype(int), made.classes):
        rest = mask.copy()
        for (top, left, bottom, right), label in zip(boxes, classes):
            if label < 0:
                assert top == left == bottom == right == 0
                continue
            part = mask[top:bottom, left:right]
            assert set(np.unique(part)) == {0, 1 + label}  # Also the hole is background.
            for edge in (part[0], part[-1], part[:, 0], part[:, -1]):
                assert edge.any()
            rest[top:bottom, left:right] = 0
        assert not rest.any()


def test_sizes_cover_the_range_evenly_in_octaves_and_no_place_is_wasted(made):
    used = made.classes >= 0
    sizes = made.sizes[used]
    assert sizes.min() == 14 and sizes.max() == 48 and (made.sizes[~used] == 0).all()
    assert used[:, 0].all() and 2 < used.sum(axis=1).mean() < 2.5
    assert 0.35 < np.mean(sizes < np.sqrt(14 * 48)) < 0.6
    heights = (made.boxes[..., 2] - made.boxes[..., 0])[used]
    np.testing.assert_allclose(heights, sizes * 20 / 28, atol=1.01)


def test_the_seed_decides(made):
    photographs = pasted_garments.backgrounds("training")
    again = pasted_garments.scenes(garments(), photographs, 200, seed=1)
    other = pasted_garments.scenes(garments(), photographs, 200, seed=2)
    assert all(np.array_equal(first, second) for first, second in zip(made, again))
    assert not np.array_equal(made.images, other.images)


def test_splits_share_no_pixels_of_the_photographs():
    """The parts of a photograph, side by side, are the photograph."""
    for name, *parts in zip(pasted_garments.PHOTOGRAPHS, *map(pasted_garments.backgrounds, SPLITS)):
        image = getattr(pasted_garments.data, name)()
        image = image if image.ndim == 3 else np.repeat(image[:, :, np.newaxis], 3, axis=2)
        whole = np.concatenate(parts, axis=1)
        np.testing.assert_array_equal(whole, image[:, : whole.shape[1]])
        assert min(part.shape[1] for part in parts) >= 96 and whole.shape[1] > image.shape[1] - 4


def test_background_is_the_photograph_and_garments_are_painted():
    black = [np.zeros((120, 120, 3), np.uint8)]
    made = pasted_garments.scenes(garments(), black, 20, seed=0)
    covered = made.images.any(axis=-1)
    assert covered[made.masks > 0].all()
    # Only soft edges are painted outside of the masks.
    grown = tf.nn.max_pool2d(tf.cast(made.masks[..., None] > 0, tf.float32), 5, 1, "SAME")[..., 0].numpy() > 0
    assert not covered[~grown].any()


def test_resizing_matches_tensorflow():
    image = np.random.default_rng(0).random((28, 28)).astype(np.float32)
    for size in (14, 21, 28, 41, 48):
        matrix = pasted_garments.resizing(28, size)
        expected = tf.image.resize(image[:, :, np.newaxis], (size, size), antialias=True)[:, :, 0]
        np.testing.assert_allclose(matrix @ image @ matrix.T, expected, atol=1e-5)


def test_an_object_that_vanishes_is_left_out():
    faint = np.zeros((1, 28, 28), np.float32)
    made = pasted_garments.scenes((faint, np.array([3])), [np.zeros((96, 96, 3), np.uint8)], 3, seed=0)
    assert (made.classes == -1).all() and not made.masks.any() and not made.sizes.any()
