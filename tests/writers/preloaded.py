"""What each process of these tests needs: imported once, by the server they are forked from."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import tfpyramid.export  # noqa: E402, F401
import tfpyramid.scale.beam  # noqa: E402, F401
import tfpyramid.training  # noqa: E402, F401
from tfpyramid.scale import _store  # noqa: E402

_store.peers()
