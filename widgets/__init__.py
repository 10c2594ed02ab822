"""ipywidgets panels for keraslr."""
