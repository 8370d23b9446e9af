"""A small image-to-image generator compressed by GAN Slimming, and by the same steps one behind the other."""
