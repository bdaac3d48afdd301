"""What runs a page: the trainer, its flags, the run folder, the door of a command."""
