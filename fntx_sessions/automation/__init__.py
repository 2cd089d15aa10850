"""What happens by itself: liveness, and what waits to be finished."""
