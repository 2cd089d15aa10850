"""Rules: conditions that start, stop, pause and resume sessions by themselves, and say why, or why not."""
