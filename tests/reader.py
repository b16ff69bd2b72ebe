"""A program that answers for models on disk, so that each check need not start a TensorFlow of its own.

    python reader.py keras|saved_model|read_back

It reads requests, a JSON line each: {"model": path, "arrays": path of a .npz, "answers": path of the .npz to write},
and answers each with a JSON line {"error": null or text}. For each batch N of the request, `N/input/K` are the inputs
and `N/upstream/K` what each output is multiplied with; `N/output/K` and `N/gradient/K`, of the sum of those products,
are the answers. A reader of SavedModels cannot import tfpyramid; one of `.keras` files registers its layers by
importing it and is told of no custom objects. With "read_back" it does for each request what the program of
`tfpyramid.export._read_back` does in a process of its own, with the arrays and the answers of that.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

# One thread, as in the tests: every worker of pytest has readers of its own.
tf.config.threading.set_inter_op_parallelism_threads(1)
tf.config.threading.set_intra_op_parallelism_threads(1)

kind = sys.argv[1]
if kind == "keras":
    import tfpyramid.layers  # noqa: F401
    from tfpyramid._compat import keras
else:
    sys.modules["tfpyramid"] = None


def numbered(arrays, prefix):
    """Return the arrays named prefix/0, prefix/1, ..."""
    return [arrays[f"{prefix}/{k}"] for k in range(sum(name.startswith(prefix + "/") for name in arrays))]


def load(path):
    """Return the model as a function of a list of tensors."""
    model = tf.saved_model.load(path) if kind == "saved_model" else keras.models.load_model(path)

    def function(tensors):
        # The model is asked for its endpoint here: without the model, the endpoint would lose its variables.
        call = model.serve if kind == "saved_model" else model
        return tf.nest.flatten(call(tensors if len(tensors) > 1 else tensors[0]))

    return function


def answer(request):
    function = load(request["model"])
    arrays = dict(np.load(request["arrays"], allow_pickle=False))
    answers = {}
    for batch in sorted({name.split("/")[0] for name in arrays}):
        inputs = [tf.constant(array) for array in numbered(arrays, f"{batch}/input")]
        upstream = numbered(arrays, f"{batch}/upstream")
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = function(inputs)
            objective = tf.add_n([tf.reduce_sum(y * u) for y, u in zip(outputs, upstream, strict=True)])
        gradients = tape.gradient(objective, inputs, unconnected_gradients="zero")
        answers.update({f"{batch}/output/{k}": y.numpy() for k, y in enumerate(outputs)})
        answers.update({f"{batch}/gradient/{k}": g.numpy() for k, g in enumerate(gradients)})
    np.savez(request["answers"], **answers)


def program():
    """Return the module of the program that reads exports back."""
    path = Path(__file__).parents[1] / "tfpyramid" / "export" / "_read_back.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if kind == "read_back":
    read_back = program()

for line in sys.stdin:
    request = json.loads(line)
    try:
        if kind == "read_back":
            read_back.main(request["model"], request["arrays"], request["answers"])
        else:
            answer(request)
        error = None
    except Exception as raised:
        error = f"{type(raised).__name__}: {raised}"
    print(json.dumps({"error": error}), flush=True)

os._exit(0)  # TensorFlow takes seconds to let go of hundreds of models.
