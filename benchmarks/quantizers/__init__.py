"""Every quantizer trained by one recipe on the digits, lowered, and compared with its float execution."""
