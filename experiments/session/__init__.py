"""What runs any task: the trainer, the run folder, the door of a command."""
