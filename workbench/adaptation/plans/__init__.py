"""What determines a training: its plan, and the key under which its result is found."""
