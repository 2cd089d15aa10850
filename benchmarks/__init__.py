"""What the service reaches, measured beside the physical limit and its nearest peers, in one run."""
