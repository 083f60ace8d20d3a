"""What `train_encoder` is made of: how good an encoder is."""
