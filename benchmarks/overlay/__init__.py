"""Real layers on systolic and XNOR arrays: cycles of the RTL, of the exact model and of the approximate one."""
