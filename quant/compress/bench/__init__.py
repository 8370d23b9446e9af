"""What the command compares: the methods with their budgets, networks to try them on, and the way down to integers."""
