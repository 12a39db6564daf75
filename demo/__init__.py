"""The tiny Wan model that comes with the pack, and its frames; knows nothing of ComfyUI."""
