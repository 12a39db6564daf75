"""Connects calibration and caching to ComfyUI: the only folder that imports the host."""
