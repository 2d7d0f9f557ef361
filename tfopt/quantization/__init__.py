"""Quantization-aware training for Keras 3: int8 simulated in the forward pass, straight-through gradients in the backward one."""
