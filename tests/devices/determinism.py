"""The operations that raise an error on a GPU after `tf.config.experimental.enable_op_determinism`.

TensorFlow 2.21's library contains the message of each of these errors; most begin with "Determinism is not yet
supported" or "A deterministic GPU implementation". On a CPU these operations do not raise.
"""

from __future__ import annotations

from tensorflow.core.framework import node_def_pb2

_ALWAYS = {
    "AdjustContrast",
    "AdjustContrastv2",
    "Bincount",
    "CropAndResizeGradBoxes",
    "CropAndResizeGradImage",
    "DebugNumericSummaryV2",
    "DenseBincount",
    "Dilation2DBackpropFilter",
    "Dilation2DBackpropInput",
    "FakeQuantWithMinMaxVarsGradient",
    "FakeQuantWithMinMaxVarsPerChannelGradient",
    "MaxPoolGradWithArgmax",
    "NonDeterministicInts",
    "ResizeNearestNeighborGrad",
    "SoftmaxCrossEntropyWithLogits",
    "SparseSoftmaxCrossEntropyWithLogits",
    "SparseTensorDenseMatMul",
    "Svd",  # Of matrices with one column.
    "Timestamp",
    # On reference variables, of TensorFlow 1.
    *(f"Scatter{name}" for name in ("Add", "Div", "Max", "Min", "Mul", "Sub", "Update")),
}
_WITHOUT_SEED = {
    "Multinomial",
    "ParameterizedTruncatedNormal",
    "RandomGamma",
    "RandomPoisson",
    "RandomPoissonV2",
    "RandomShuffle",
    "RandomStandardNormal",
    "RandomUniform",
    "RandomUniformInt",
    "TruncatedNormal",
}
EVER = {*_ALWAYS, *_WITHOUT_SEED, "FusedBatchNormGrad", "FusedBatchNormGradV2", "FusedBatchNormGradV3"}

# These had no deterministic kernel for GPUs before TensorFlow 2.8: SegmentSum and its relatives, UnsortedSegmentSum,
# which is also the gradient of GatherV2, and DepthwiseConv2dNativeBackpropFilter. ScatterNd runs on the host then.


def raises(node: node_def_pb2.NodeDef) -> bool:
    """Return whether a GPU would raise an error at an operation if determinism were enabled."""
    if node.op in _WITHOUT_SEED:
        return node.attr["seed"].i == node.attr["seed2"].i == 0
    if node.op.startswith("FusedBatchNormGrad"):
        return not node.attr["is_training"].b
    return node.op in _ALWAYS
