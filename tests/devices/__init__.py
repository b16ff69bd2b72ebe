"""What can be known about GPUs without one: which kernels TensorFlow would run there, and in which memory."""
