"""One training run: network, augmentation, learning rate, arithmetic, and the loop itself."""
