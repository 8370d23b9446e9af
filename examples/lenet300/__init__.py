"""LeNet-300-100 on the digits, pruned to 8%, with 15 shared weights per layer: see README.md."""
