"""Positions and profit and loss: what each account holds, what it cost, and what it has earned."""
