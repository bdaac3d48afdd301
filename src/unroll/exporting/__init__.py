"""A trained model as a program for others: ONNX, and StableHLO of `jax.export`."""
