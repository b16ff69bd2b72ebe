"""The average precision of detections, by pycocotools."""

from __future__ import annotations

import contextlib
import io
import math

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

# By the area of the box. The sides are those of a square of this area, in pixels.
BANDS = {"all": (0, 1e5), "up to 16 px": (0, 16), "16 to 26 px": (16, 26), "over 26 px": (26, 1e5)}


def average_precision(
    truth: dict[str, np.ndarray], found: dict[str, np.ndarray], num_classes: int
) -> dict[str, dict[str, float]]:
    """Return "AP50" and "AP" (the mean over IoU thresholds from 0.5 to 0.95) for each of BANDS, in percent.

    Args:
        truth: "boxes" [n, most, 4], (y_min, x_min, y_max, x_max), and "classes" [n, most], -1 for padding.
        found: the outputs of the detector: "boxes", "classes" and "scores", padded in the same way.
        num_classes: number of classes.
    """
    image, place = np.nonzero(truth["classes"] >= 0)
    boxes, labels = corner_and_size(truth["boxes"][image, place]), truth["classes"][image, place]
    dataset = COCO()
    dataset.dataset = {
        "images": [{"id": k} for k in range(len(truth["boxes"]))],
        "categories": [{"id": k} for k in range(num_classes)],
        "annotations": [  # An id of 0 would mean that there is no object.
            {"id": k + 1, "image_id": i, "category_id": c, "bbox": b, "area": b[2] * b[3], "iscrowd": 0}
            for k, (i, c, b) in enumerate(zip(image.tolist(), labels.tolist(), boxes.tolist()))
        ],
    }
    image, place = np.nonzero(found["classes"] >= 0)
    columns = (
        corner_and_size(found["boxes"][image, place]),
        found["scores"][image, place],
        found["classes"][image, place],
    )
    with contextlib.redirect_stdout(io.StringIO()):
        dataset.createIndex()
        if not len(image):
            return {band: {"AP50": 0.0, "AP": 0.0} for band in BANDS}
        results = dataset.loadRes(np.column_stack([image, *columns]).astype(np.float64))
        evaluation = COCOeval(dataset, results, "bbox")
        evaluation.params.areaRng = [[low**2, high**2] for low, high in BANDS.values()]
        evaluation.params.areaRngLbl = list(BANDS)
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., -1]  # [thresholds, recalls, classes, bands]; -1 without objects.
    return {
        band: {"AP50": mean_of(precision[0, ..., k]), "AP": mean_of(precision[..., k])} for k, band in enumerate(BANDS)
    }


def mean_of(precision: np.ndarray) -> float:
    """Return the mean in percent without the classes that have no objects, or NaN if none has."""
    known = precision[precision >= 0]
    return round(100 * float(known.mean()), 2) if known.size else math.nan


def corner_and_size(boxes: np.ndarray) -> np.ndarray:
    """Return boxes as COCO writes them: (x, y, width, height)."""
    y_min, x_min, y_max, x_max = np.split(boxes, 4, axis=-1)
    return np.concatenate([x_min, y_min, x_max - x_min, y_max - y_min], axis=-1)
