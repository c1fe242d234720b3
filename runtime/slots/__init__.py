"""Two places for bundles, one of them live: a new one is proven beside the old one, and goes back by itself if it is worse."""
