"""What images are compared by, in training and in evaluation."""
