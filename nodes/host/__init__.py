"""What knows ComfyUI: its wrappers, options, samplers and model_sampling."""
