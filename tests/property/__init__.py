"""State machines and policies under Hypothesis: what holds for every input."""
