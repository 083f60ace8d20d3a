"""Parts of `train_encoder`: how good an encoder is."""
