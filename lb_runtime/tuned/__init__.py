"""What `lb tune` learned of this machine, as the runtime finds and uses it."""
