"""Models: what an experiment trains, made of parts and of a recurrent core."""
