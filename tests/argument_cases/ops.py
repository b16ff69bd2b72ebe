"""The functions on tensors."""

import numpy as np

from tests.argument_cases.row import IMAGES, LEVELS, Row
from tfpyramid import ops

LOGITS = np.float32([[0.5, 1, -1]])
KERNEL = np.float32(np.arange(9 * 2).reshape(3, 3, 2, 1) / 16)
BOXES = np.float32([[[0, 0, 2, 3], [1, 1, 4, 2]]])
FIXATIONS = np.float32([[0.25, 0.75]])
STEP = {"scale_factor": 2.0, "kernel": [1.0, 2.0, 1.0], "border": "edge"}
ALIGNED = {"scale_factor": 2.0, "interpolation": "bilinear", "phase": 0.5}

ROWS = [
    Row(
        ops.affine_grid,
        lambda: {"matrices": np.float32(np.eye(2, 3)[None]), "image_size": (5, 4), "output_size": (3, 2)},
    ),
    Row(ops.align_levels, lambda: {"levels": LEVELS, "target_level": 1, **ALIGNED}),
    Row(ops.bilinear_down, lambda: {"images": IMAGES, "scale_factor": 1.5, "antialias": True}),
    Row(ops.bilinear_sample, lambda: {"images": IMAGES, "points": np.float32([[[0.5, 1.5]]]), "border": "edge"}),
    Row(ops.binomial, lambda: {"size": 5}),
    Row(
        ops.blend,
        lambda: {"a": IMAGES, "b": IMAGES[:, ::-1], "mask": IMAGES[..., :1], "num_levels": 2, **STEP},
    ),
    Row(ops.box, lambda: {"size": 3}),
    Row(ops.conv_down, lambda: {"images": IMAGES, "kernel": KERNEL, "strides": (2, 1), "border": "edge"}),
    Row(
        ops.cascade_costs,
        lambda: {"weights": LOGITS, "costs": [1.0, 0.5, 0.25], "start": LOGITS + 1},
    ),
    Row(
        ops.cost_volume,
        lambda: {
            "first": IMAGES,
            "second": IMAGES[:, ::-1],
            "max_displacement": 2,
            "step": 1,
            "kernel_size": 3,
            "flow": IMAGES[:, :, ::-1],
            "sampling": "lookup",
        },
    ),
    Row(ops.cumulative_gates, lambda: {"logits": LOGITS[0], "temperature": 0.5, "hard": False}),
    Row(ops.depthwise_down, lambda: {"images": IMAGES, "kernel": KERNEL, "strides": 2, "border": "edge"}),
    Row(
        ops.exposure_fusion,
        lambda: {
            "images": [IMAGES, IMAGES + 0.125],
            "num_levels": 2,
            "contrast": 0.5,
            "saturation": 2.0,
            "well_exposedness": 1.5,
            **STEP,
        },
    ),
    Row(ops.focus_stack, lambda: {"images": [IMAGES, IMAGES[:, ::-1]], "num_levels": 2, **STEP}),
    Row(
        ops.foveated_pyramid,
        lambda: {"images": IMAGES, "fixations": FIXATIONS, "size": 3, "num_levels": 2, "hard": True, **STEP},
    ),
    Row(
        ops.fuse_logits,
        lambda: {"logits": [LOGITS, LOGITS + 1], "method": "attention", "query": np.float32([1, 0, 2])},
    ),
    Row(
        ops.fusion_weights,
        lambda: {"values": LOGITS[0], "method": "softmax", "hard": False, "temperature": 0.5, "epsilon": 0.5},
    ),
    Row(ops.gaussian, lambda: {"sigma": 1.5, "size": 5}),
    Row(ops.gaussian_pyramid, lambda: {"images": IMAGES, "num_levels": 3, "upsampled_levels": 1, **STEP}),
    Row(ops.generalized_iou, lambda: {"first": BOXES, "second": BOXES[:, ::-1] + 1}),
    Row(ops.gumbel_softmax, lambda: {"logits": LOGITS, "temperature": 0.5, "seed": (1, 2), "hard": True}),
    Row(ops.heaviside_st, lambda: {"x": LOGITS, "temperature": 0.5}),
    Row(ops.laplacian_pyramid, lambda: {"images": IMAGES, "num_levels": 2, **STEP}),
    Row(ops.local_maxima, lambda: {"maps": IMAGES[..., :1], "count": 3, "separation": 3}),
    Row(
        ops.multi_scale_ssim,
        lambda: {
            "targets": IMAGES,
            "predictions": IMAGES + 1,
            "max_val": 2.0,
            "power_factors": (0.5, 0.25),
            "filter_size": 3,
            "filter_sigma": 1.5,
            "k1": 0.25,
            "k2": 0.5,
        },
    ),
    Row(ops.normalize_gradient, lambda: {"x": LOGITS, "scope": "sample", "norm": 2.0}),
    Row(ops.normalize_kernel, lambda: {"values": KERNEL, "normalization": "softmax", "axes": (0, 1)}),
    Row(ops.one_hot_st, lambda: {"logits": LOGITS, "temperature": 0.5}),
    Row(ops.phase, lambda: {"kernel": [1.0, 2.0, 0.5], "scale_factor": 2.0}),
    Row(ops.pixel_costs, lambda: {"num_levels": 3, "scale_factor": 1.5, "upsampled_levels": 1}),
    Row(ops.pyr_down, lambda: {"images": IMAGES, **STEP}),
    Row(ops.pyr_up, lambda: {"images": IMAGES, "output_size": (9, 10), **STEP}),
    Row(ops.quantize_st, lambda: {"x": LOGITS, "bits": 3, "limit": 0.5}),
    Row(ops.reconstruct, lambda: {"levels": LEVELS, **STEP}),
    Row(ops.resize_by, lambda: {"images": IMAGES, "output_size": (9, 8), **ALIGNED, "phase": (0.5, 0.25)}),
    Row(ops.round_st, lambda: {"x": LOGITS}),
    Row(ops.scale_gradient, lambda: {"x": LOGITS, "factor": 0.5}),
    Row(ops.soft_argmax, lambda: {"maps": IMAGES, "temperature": 0.5, "hard": True}),
    Row(ops.softmax_mixture, lambda: {"logits": LOGITS[:, None], "scores": LOGITS[:, :1]}),
    Row(
        ops.spectral_pool,
        lambda: {"images": IMAGES, "strides": (1.5, 2.0), "output_size": (3, 2), "smoothness": 2.0, "hard": False},
    ),
    Row(
        ops.strided_conv2d,
        lambda: {"images": IMAGES, "kernel": KERNEL, "strides": (1.5, 2.0), "output_size": (2, 1)},
    ),
    Row(ops.surrogate_st, lambda: {"discrete": LOGITS, "surrogate": LOGITS + 1}),
    Row(ops.warp, lambda: {"images": IMAGES, "flow": IMAGES + 0.5, "border": "edge", "return_mask": True}),
    Row(
        ops.window_mean,
        lambda: {"images": IMAGES, "weights": IMAGES.repeat(2, axis=3), "strides": 1, "border": "edge"},
    ),
]
