"""What if: a copy of positions, changes to it, every measure before and after. Pure: nothing here reads or writes a row."""
