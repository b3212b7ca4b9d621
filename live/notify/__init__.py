"""Notifications: what the journal says and what nobody could write there, told through apprise; imported where configured."""
