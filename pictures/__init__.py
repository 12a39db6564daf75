"""Draws the nodes' pictures with Pillow, which ComfyUI brings."""
