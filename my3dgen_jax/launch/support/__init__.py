"""What all commands share: flags, how they start and end, kept programs."""
