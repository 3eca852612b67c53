"""Market data: readers of recorded feeds, estimators, calendars."""
