"""Straight-through estimators, and gradients by complex steps."""

import numpy as np


def soft(discrete, surrogate):
    """The value of an estimator that is not straight-through."""
    return surrogate


def hard(discrete, surrogate):
    """The value of a straight-through estimator."""
    return discrete


def straight_through(discrete, surrogate):
    """The value of a straight-through estimator, with its gradient as `complex_step` takes it."""
    return np.real(discrete) + 1j * np.imag(surrogate)


def complex_step(function, arguments, upstream):
    """Return the gradients of sum(upstream * function(**arguments)) for every argument, exact to rounding.

    An analytic function at x + i h has f'(x) h as its imaginary part: no difference is taken, and none is rounded.
    """
    step, gradients = 1e-100, {}
    for name, value in arguments.items():
        gradients[name] = np.zeros(value.shape)
        for index in np.ndindex(value.shape):
            moved = np.array(value, np.complex128)
            moved[index] += 1j * step
            y = function(**{**arguments, name: moved})
            gradients[name][index] = np.sum(upstream * np.imag(y)) / step
    return gradients
