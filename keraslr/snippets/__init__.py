"""Schedules as code: for Keras, and for PyTorch."""

from keraslr.snippets._keras import fit_snippet, keras_line, pytorch_snippet

__all__ = ["fit_snippet", "keras_line", "pytorch_snippet"]
