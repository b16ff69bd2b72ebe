"""PredictImages: the answers, the dead letters, and each file once, whatever happens on the way."""

import errno
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pyarrow.parquet
import pytest
import tensorflow as tf
from PIL import Image

from tests.examples.script import ROOT
from tests.scale import folder
from tfpyramid.export import Pixels
from tfpyramid.scale import _job, _predictor

beam = pytest.importorskip("apache_beam")
