"""`vitrtl search`: widths by layer and formats by site, by a proxy first, the survivors by the exact simulator."""
