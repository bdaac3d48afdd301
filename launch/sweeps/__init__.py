"""Named sweeps: a question, a list of flags, what to expect."""
