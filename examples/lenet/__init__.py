"""LeNet-5 on the digits, as int8 and with 4-bit weights and activations: see README.md."""
