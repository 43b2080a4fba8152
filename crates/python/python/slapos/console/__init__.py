"""What `slapos console` runs in the user's Python: global names, shells, readable errors."""
