"""Markets, money and the paper broker: what the words of docs/trading.md compute to."""
