"""pyramid_vlm."""

from __future__ import annotations

from tfpyramid import _checks, _level_checks
from tfpyramid._compat import keras
from tfpyramid.layers._base import check_layer
from tfpyramid.layers.downsampling.learnable_downsample import LearnableDownsample2D
from tfpyramid.layers.pyramids.learnable_pyramid import LearnablePyramid
from tfpyramid.layers.selection.level_router import LevelRouter
from tfpyramid.layers.selection.query_level_selector import QueryLevelSelector
from tfpyramid.models._visual_questions import PyramidVLM

# Behind every convolution; Keras's 0.99 needs more steps than a small data set has.
_MOMENTUM = 0.9


def pyramid_vlm(
    vocabulary_size: int,
    num_answers: int,
    *,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    num_levels: int = 4,
    downsample: keras.layers.Layer | None = None,
    objective: str = "value",
    cost_weight: float = 0.02,
    filters: int = 16,
    units: int = 64,
    question_encoder: keras.layers.Layer | None = None,
    seed: int | None = None,
    name: str = "pyramid_vlm",
) -> keras.Model:
    """Build a model that answers questions about images, and reads each at the level that its question needs.

    A `LearnablePyramid`; a `QueryLevelSelector`, by the question alone; a `LevelRouter` with an encoder for each level,
    of which each sample runs the chosen one at inference, and the pyramid down to it; a decoder shared by all levels.

    Equation:
        `answer = softmax(dense(relu(dense(f * q))))`, with `q = tanh(...)` of the question and `f = tanh(...)` of the
        image at the chosen level, both of `units` numbers, multiplied one by one.
        With the objective "value", training minimises the compiled loss of the answer, as the mean over every level's
        answer, plus the binary cross-entropy between the selector's P(right | question, level) and whether that level's
        answer was right. At inference the level is `argmax_k(P[k] - cost_weight pixels[k])`.
        With "softmax" or "gumbel", training minimises the compiled loss of the answer to the features summed over the
        levels by the selector's weights, plus `cost_weight` times the expected pixels.

    Convention:
        What is learned of a level does not depend on how often it is chosen with "value"; a softmax tends to settle on
        the level that is best on average, and Gumbel draws starve the levels that they leave out.
        The model takes n questions an image, [batch * n, any] with as many labels, those of one image in a row:
        question i is about image i // n, in training and at inference. A `tf.data.Dataset` can give such batches.
        Training with "value" then encodes an image once for all of its questions; otherwise each question gets a copy
        of its image. Another number of questions is a ValueError if sizes are known, and stops the graph if not.
        `model.selector.cost_weight.assign(...)` trades accuracy for pixels after training, with "value".
        The metric selector_cost is the mean share of pixels read, of the chosen level relative to the finest.

    Args:
        vocabulary_size: token ids are below it; 0 stands for no token. From 2 to 2^20.
        num_answers: how many answers there are, from 1 to 2^20.
        input_shape: (height, width, channels) of the images; sides may be None.
        num_levels: levels to choose from, from 1 to 64.
        downsample: the layer that goes from a level to the next, as in `LearnablePyramid`; None means
            `LearnableDownsample2D(kernel_size=2, border="constant")`, which reads each pixel once.
        objective: "value", "softmax" or "gumbel", as in `QueryLevelSelector`.
        cost_weight: what the pixels of the finest level weigh against the probability of a right answer, or against the
            loss, from 0 to 1e30.
        filters: channels behind the first convolution of an encoder, from 1 to 65536; the next have two and four times
            that.
        units: size of the features, from 1 to 65536.
        question_encoder: layer of token ids [batch, any] to vectors [batch, units]; None for the words regardless of
            their order.
        seed: of the noise of "gumbel".
        name: of the model.

    Returns:
        A model of {"image": [batch, height, width, channels], "question": token ids [batch * n, any]} to {"answer":
        probabilities [batch * n, num_answers], "level_weights": [batch * n, num_levels], one-hot}. Compile it with the
        loss of "answer" alone and fit it to labels; it has the attributes `router`, `selector`, `question_encoder`,
        `decoder`.

    Raises:
        ValueError: if an argument breaks a rule above.

    Example:
        >>> model = models.pyramid_vlm(vocabulary_size=30, num_answers=13)
        >>> model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        >>> outputs = model({"image": tf.ones([2, 64, 64, 3]), "question": tf.constant([[4, 7, 0], [5, 2, 9]])})
        >>> {key: tuple(value.shape) for key, value in outputs.items()}
        {'answer': (2, 13), 'level_weights': (2, 4)}

    References:
        Kim, On, Lim, Kim, Ha and Zhang, Hadamard Product for Low-rank Bilinear Pooling, 2017, section 3 (tanh on both
        factors).
    """
    name = _checks.text("name", name)
    most = _checks.MOST_CLASSES
    vocabulary_size = _checks.integer("vocabulary_size", vocabulary_size, 2, "token ids are below it", maximum=most)
    num_answers = _checks.integer("num_answers", num_answers, 1, maximum=most)
    num_levels = _checks.num_levels(num_levels)
    filters = _checks.channels("filters", filters, "the channels behind the first convolution")
    units = _checks.channels("units", units, "the size of the features")
    input_shape = _checks.input_shape(input_shape)
    if question_encoder is not None:
        question_encoder = check_layer("question_encoder", question_encoder)
    if downsample is None:
        # The pyramid must cost little beside the encoders that it saves: each pixel is read once, and zeros are the
        # cheapest border.
        downsample = LearnableDownsample2D(kernel_size=2, border="constant", name="downsample")
    pyramid = LearnablePyramid(num_levels, downsample, name="pyramid")
    levels = _level_checks.level_shapes(pyramid.compute_output_shape((None, *input_shape)))
    encoders = [_image_encoder(k, num_levels, shape[3], filters, units) for k, shape in enumerate(levels)]
    selector = QueryLevelSelector(num_levels, objective=objective, cost_weight=cost_weight, seed=seed, name="selector")
    return PyramidVLM(
        LevelRouter(encoders, pyramid, name="router"),
        selector,
        _bag_of_words(vocabulary_size, units) if question_encoder is None else question_encoder,
        _decoder(num_answers, units),
        input_shape,
        name=name,
    )


def _image_encoder(k: int, num_levels: int, channels: int, filters: int, units: int) -> keras.Sequential:
    """Return the encoder of level k: as many halvings as bring all levels to about one size, and two at least."""
    layers = keras.layers
    stack = [keras.Input((None, None, channels))]
    for step in range(max(num_levels - k, 2)):
        # Where there are many pixels, the first convolution sees more of them: it makes up for skipping every other.
        size = 5 if step == 0 and num_levels - k > 2 else 3
        stack += [
            layers.Conv2D(filters * 2 ** min(step, 2), size, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=_MOMENTUM),
            layers.ReLU(),
        ]
    stack += [layers.GlobalMaxPooling2D(), layers.Dense(units, activation="tanh")]
    return keras.Sequential(stack, name=f"encoder_{k}")


def _bag_of_words(vocabulary_size: int, units: int) -> keras.Sequential:
    """Return a layer of token ids to vectors, in which the order of the words has no part."""
    stack = [
        keras.Input((None,), dtype="int32"),
        keras.layers.CategoryEncoding(vocabulary_size, output_mode="multi_hot"),
        keras.layers.Dense(units, activation="relu"),
        keras.layers.Dense(units, activation="tanh"),
    ]
    return keras.Sequential(stack, name="question_encoder")


def _decoder(num_answers: int, units: int) -> keras.Model:
    features, question = keras.Input((units,), name="features"), keras.Input((units,), name="vector")
    hidden = keras.layers.Dense(units, activation="relu")(keras.layers.Multiply()([features, question]))
    # In float32 under mixed precision too, as losses need it.
    answer = keras.layers.Dense(num_answers, activation="softmax", dtype="float32", name="answer")(hidden)
    return keras.Model([features, question], answer, name="decoder")
