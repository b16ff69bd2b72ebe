"""Boxes (y_min, x_min, y_max, x_max), one at a time."""

import numpy as np


def area(box):
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def generalized_iou(first, second):
    """Return the value of boxes [..., 4], which must all have an area."""
    first, second = np.broadcast_arrays(np.asarray(first, np.float64), np.asarray(second, np.float64))
    values = [_pair(a, b) for a, b in zip(first.reshape(-1, 4), second.reshape(-1, 4))]
    return np.reshape(values, first.shape[:-1])


def _pair(a, b):
    both = [max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])]
    hull = [min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])]
    union = area(a) + area(b) - area(both)
    return area(both) / union - (area(hull) - union) / area(hull)


def fcos_targets(sizes, strides, boxes, classes, image, reach, center_radius):
    """Return the classes [n], boxes [n, 4] and centre-nesses [n] of all points for one image, by FCOS, section 3."""
    rows = []
    for level, ((height, width), stride) in enumerate(zip(sizes, strides)):
        for i in range(height):
            for j in range(width):
                y, x = i * stride + 0.5, j * stride + 0.5
                best = (-1, np.zeros(4), 0.0)
                smallest = np.inf
                for box, label in zip(boxes, classes):
                    low, high = np.clip(box[:2], 0, image), np.clip(box[2:], 0, image)
                    up, left, down, right = y - low[0], x - low[1], high[0] - y, high[1] - x
                    inside = label >= 0 and min(up, left, down, right) > 0
                    farthest = max(up, left, down, right)
                    first, last = level == 0, level == len(strides) - 1
                    in_range = (first or farthest > reach * strides[level - 1]) and (last or farthest <= reach * stride)
                    center = (low + high) / 2
                    near = center_radius is None or max(abs(center - (y, x))) <= center_radius * stride
                    size = area([*low, *high])
                    if inside and in_range and near and size < smallest:
                        smallest = size
                        ratios = min(up, down) / max(up, down) * min(left, right) / max(left, right)
                        best = (label, np.array([*low, *high]), np.sqrt(ratios))
                rows.append(best)
    return tuple(np.array(column) for column in zip(*rows))
