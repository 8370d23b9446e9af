"""What to build: the search for a plan of one network on one device, and sweeps over machines and networks."""
