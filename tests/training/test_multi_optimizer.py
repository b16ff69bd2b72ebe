"""Beside what Keras 3 has of the kind; tests/test_addons.py compares with tensorflow-addons'."""

import numpy as np
import pytest

from tests.training.test_discriminative_optimizer import PAIRS, X, Y, make_model
from tfpyramid import training
from tfpyramid._compat import KERAS_3, keras


@pytest.mark.skipif(not KERAS_3, reason="Keras 2 has no MultiOptimizer")
@pytest.mark.parametrize("name", PAIRS)
def test_groups_train_as_the_multi_optimizer_of_keras_does_without_clipping(name):
    ours, theirs = make_model(), make_model()
    theirs.set_weights(ours.get_weights())
    start = ours.get_weights()
    # It clips, if at all, over all groups; each of ours clips its own.
    optimizers = [PAIRS[name]() for _ in range(2)]
    for each in (each for pair in optimizers for each in pair):
        each.clipnorm = each.clipvalue = each.global_clipnorm = None
    pyramid = {id(v) for v in theirs.layers[1].trainable_variables}
    multi = keras.optimizers.MultiOptimizer(lambda variable: optimizers[1][0 if id(variable) in pyramid else 1])
    grouped = training.discriminative_optimizer(ours, pyramid=optimizers[0][0], task=optimizers[0][1])
    for model, optimizer in ((ours, grouped), (theirs, multi)):
        model.compile(optimizer, "mse", run_eagerly=True)
        model.fit(X, Y, epochs=2, batch_size=4, verbose=0, shuffle=False)
    for a, b, before in zip(ours.get_weights(), theirs.get_weights(), start, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
        assert np.max(np.abs(a - before)) > 1e-4
