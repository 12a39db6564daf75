"""Measures how sensitive a diffusion model's output is to its input and to time; knows nothing of ComfyUI."""
