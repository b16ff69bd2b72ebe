"""A program that computes outputs of a SavedModel, and the gradient of one batch, without importing tfpyramid.

python in_python.py SAVED_MODEL INPUTS.npz ANSWERS.npz
"""

import sys

sys.modules["tfpyramid"] = None

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

loaded = tf.saved_model.load(sys.argv[1])
arrays = dict(np.load(sys.argv[2], allow_pickle=False))
answers = {}
for batch in sorted({name.split("/")[0] for name in arrays}):
    inputs = {name.split("/")[1]: tf.constant(array) for name, array in arrays.items() if name.startswith(f"{batch}/")}
    outputs = loaded.signatures["serving_default"](**inputs)
    answers.update({f"{batch}/{name}": y.numpy() for name, y in outputs.items()})
with tf.GradientTape() as tape:
    tape.watch(inputs)
    outputs = loaded.signatures["serving_default"](**inputs)
    objective = tf.add_n([tf.reduce_mean(tf.square(y)) for y in outputs.values() if y.dtype.is_floating])
gradients = tape.gradient(objective, inputs, unconnected_gradients="zero")  # Detections have none.
answers.update({f"gradient/{name}": g.numpy() for name, g in gradients.items()})
np.savez(sys.argv[3], **answers)
