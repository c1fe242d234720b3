"""A station as a service of systemd: the unit it is started by, and what it tells the one who started it."""
