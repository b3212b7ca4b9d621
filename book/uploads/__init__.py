"""Files of positions, prices, exchange rates, ratings and loan servicing: read, staged, validated row by row, taken once."""
