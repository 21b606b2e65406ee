"""The lab itself: that its networks are closed and its servers as strict as the real ones."""
