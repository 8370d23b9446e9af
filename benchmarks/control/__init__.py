"""What the control shell costs."""
