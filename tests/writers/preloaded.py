"""The imports of all processes of these tests; the server from which they are forked imports them once."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import tfpyramid.export  # noqa: E402, F401
import tfpyramid.scale.beam  # noqa: E402, F401
import tfpyramid.training  # noqa: E402, F401
from tfpyramid.scale import _store  # noqa: E402

_store.import_zarr()
