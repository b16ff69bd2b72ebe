"""The figures of docs/downsampling.md: each layer on one photograph, before and after a short training."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from style import Panel, photograph, psnr, save, strip, train

from tfpyramid import layers, ops, visualize

SIDE = 128


def photo() -> np.ndarray:
    return photograph("chelsea", SIDE, (60, 110))


def learned(name: str, heading: str, soft: tf.keras.layers.Layer, hard: tf.keras.layers.Layer, note: str) -> None:
    """Draw a layer untrained, trained to let a bicubic restore the photograph, and that with `hard=True`."""
    photos = photo()
    start, before = soft(photos), psnr(soft(photos), photos)
    after = train(soft, photos)
    hard(photos)
    hard.set_weights(soft.get_weights())
    change = soft(photos) - start
    panels = [
        Panel(photos, f"input\n{SIDE} × {SIDE} px", scale=1.5),
        Panel(start, f"untrained\nrestored: {before:.1f} dB", scale=3),
        Panel(soft(photos), f"trained\nrestored: {after:.1f} dB", scale=3),
        Panel(change, "trained minus\nuntrained", scale=3, limit=0.2),
        Panel(hard(photos), f"hard=True, {note}\nrestored: {psnr(hard(photos), photos):.1f} dB", scale=3),
    ]
    save(strip(heading, panels), name)


def fixed() -> None:
    photos = photo()
    steps = {
        "BilinearDownsample2D()": layers.BilinearDownsample2D(),
        "BilinearDownsample2D(\nantialias=True)": layers.BilinearDownsample2D(antialias=True),
        "BlurPool2D()": layers.BlurPool2D(),
        "BlurPool2D(pool_size=2)": layers.BlurPool2D(pool_size=2),
    }
    panels = [Panel(photos, f"input\n{SIDE} × {SIDE} px", scale=1.5)]
    panels += [Panel(layer(photos), name, scale=3) for name, layer in steps.items()]
    save(strip("The two fixed downsamplers, by 2", panels), "fixed_downsamplers")


def kernels() -> None:
    learned(
        "learnable_downsample",
        "LearnableDownsample2D",
        layers.LearnableDownsample2D(),
        layers.LearnableDownsample2D(hard=True, kernel_bits=4),
        "4 bits",
    )
    learned(
        "anti_aliased_downsample",
        'AntiAliasedDownsample2D(normalization="sum")',
        layers.AntiAliasedDownsample2D(normalization="sum"),
        layers.AntiAliasedDownsample2D(normalization="sum", hard=True, kernel_bits=4),
        "4 bits",
    )
    learned(
        "content_adaptive_downsample",
        "ContentAdaptiveDownsample2D",
        layers.ContentAdaptiveDownsample2D(),
        layers.ContentAdaptiveDownsample2D(hard=True),
        "one pixel each",
    )


def kernel_shapes() -> None:
    photos = photo()
    shown = {"Gaussian start": np.outer(ops.binomial(5), ops.binomial(5))}
    for normalization in ("sum", "softmax", None):
        layer = layers.AntiAliasedDownsample2D(normalization=normalization)
        train(layer, photos)
        name = f'trained, "{normalization}"' if normalization else "trained, None"
        shown[name] = tf.convert_to_tensor(layer.blur)[:, :, 1, 0]
    save(visualize.show_kernels(shown), "downsampling_kernels")


def channel_adaptive() -> None:
    photos = photo()
    panels = [Panel(photos, f"input\n{SIDE} × {SIDE} px", scale=1.5)]
    for hard in (False, True):
        layer = layers.ChannelAdaptiveDownsample2D(hard=hard)
        layer(photos)
        panels.append(Panel(layer(photos), f"all gates open\nhard={hard}", scale=3))
        layer.excite_bias.assign([2.0, 2.0, -1.5])  # The gate of the blue channel.
        gates = ", ".join(f"{float(gate):.2f}" for gate in layer.gates(photos)[0])
        panels.append(Panel(layer(photos), f"blue gate closed, hard={hard}\ngates {gates}", scale=3))
    save(
        strip("ChannelAdaptiveDownsample2D: a gate for each channel of each image", panels),
        "channel_adaptive_downsample",
    )


def spatial_transformer() -> None:
    photos = photo()
    layer = layers.SpatialTransformerDownsample2D(offsets=False)
    start = layer(photos)
    after = _turned(layer, photos)
    moved = layer.points(photos)[0]
    save(visualize.show_sampling_grid(photos[0], moved[::4, ::4]), "sampling_grid")
    hard = layers.SpatialTransformerDownsample2D(offsets=False, hard=True)
    hard(photos)
    hard.set_weights(layer.get_weights())
    panels = [
        Panel(photos, f"input\n{SIDE} × {SIDE} px", scale=1.5),
        Panel(start, "untrained: the\nplain resize", scale=3),
        Panel(after, "trained to look at\na part of the image", scale=3),
        Panel(hard(photos), "the same,\nhard=True", scale=3),
    ]
    save(strip("SpatialTransformerDownsample2D", panels), "spatial_transformer_downsample")


def _turned(layer: tf.keras.layers.Layer, photos: np.ndarray) -> tf.Tensor:
    """Train the layer to look at the eye: its output is compared with a turned and enlarged part of the image."""
    matrix = np.array([[[0.55, -0.2, -0.15], [0.2, 0.55, -0.2]]], np.float32)
    wanted = ops.bilinear_sample(photos, ops.affine_grid(matrix, photos.shape[1:3], (SIDE // 2, SIDE // 2)))
    optimizer = tf.keras.optimizers.Adam(1e-3)

    def blurred(x: tf.Tensor) -> tf.Tensor:
        """Return a blurred image: its gradient points the right way from further off."""
        return tf.nn.avg_pool2d(tf.nn.avg_pool2d(x, 9, 1, "SAME"), 9, 1, "SAME")

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(blurred(layer(photos)) - blurred(wanted)))
        optimizer.apply_gradients(zip(tape.gradient(loss, layer.trainable_variables), layer.trainable_variables))

    for _ in range(400):
        step()
    return layer(photos)


def strides() -> None:
    photos = photo()
    panels = [Panel(photos, f"input\n{SIDE} × {SIDE} px", scale=1.5)]
    gaussian = np.outer(ops.binomial(5), ops.binomial(5))[:, :, None, None] * np.eye(3)[None, None]
    for values in ((2.0, 2.0), (2.6, 1.7), (1.5, 3.0)):
        layer = layers.LearnableStrideConv2D(3, 5, values, kernel_initializer=tf.keras.initializers.Constant(gaussian))
        level = layer(photos)
        panels.append(Panel(level, f"strides {values}\n{level.shape[1]} × {level.shape[2]} px", scale=3))
    save(
        strip("LearnableStrideConv2D, with a Gaussian kernel and three pairs of strides", panels),
        "learnable_stride_conv",
    )
    panels = panels[:1]
    for layer in (
        layers.SpectralDownsample2D(2.0),
        layers.SpectralDownsample2D(2.0, hard=True),
        layers.SpectralDownsample2D((2.6, 1.7)),
        layers.SpectralDownsample2D(4.0),
    ):
        level, name = layer(photos), " × ".join(f"{s:g}" for s in np.round(layer.strides, 2))
        hard = ", hard=True" if layer.hard else ""
        panels.append(Panel(level, f"strides {name}{hard}\n{level.shape[1]} × {level.shape[2]} px", scale=3))
    save(strip("SpectralDownsample2D: a low-pass crop of the spectrum", panels), "spectral_downsample")


def draw() -> None:
    for figure in (fixed, kernels, kernel_shapes, channel_adaptive, spatial_transformer, strides):
        figure()
