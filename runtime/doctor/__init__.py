"""Would a station run here? Checks with a verdict, a reason and a fix; each has a time limit, none can end the others."""
