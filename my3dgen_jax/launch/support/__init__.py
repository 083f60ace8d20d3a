"""What all commands share: flags, help, start, errors, compilation cache."""
