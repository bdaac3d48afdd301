"""Video: clips of shapes that move, made from a seed, or of the frames of a file."""
