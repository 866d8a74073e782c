"""Ours against others on the same work: speed, memory and share of what the machine could do."""
