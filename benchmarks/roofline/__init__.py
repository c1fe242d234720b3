"""How far each stage is from what the machine could do, and what another tile would give."""
