"""What is to be done: the source, the target and all options, looked up, checked and loaded."""
