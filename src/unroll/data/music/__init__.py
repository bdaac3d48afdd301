"""Music: the notes of MIDI files, and the piano rolls that a model reads."""
