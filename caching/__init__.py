"""Decides which evaluations of a sampling run to reuse and serves their outputs; knows nothing of ComfyUI."""
